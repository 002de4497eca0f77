package doctor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Every check has a finding in its place, and those for which the time was too short say so.
func TestRunAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wait := func(d time.Duration, f Finding) func(context.Context) Finding {
			return func(ctx context.Context) Finding {
				select {
				case <-time.After(d):
				case <-ctx.Done():
				}
				return f
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		got := runAll(ctx, []check{
			{"slow", wait(time.Hour, failed("a", "b", "c"))},
			{"late", wait(10*time.Second, ok("fine %d", 1))},
			{"early", wait(0, see("slow"))},
		})
		want := []Finding{
			{Check: "slow", Status: Skipped, Seen: "there was no time left for it", Remedy: "run portero doctor again; something else here is slow"},
			{Check: "late", Status: OK, Seen: "fine 1"},
			{Check: "early", Status: Skipped, Seen: "see slow"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("took %v, want 20s: all at once, and no longer than allowed", took)
		}
	})
}

// A check that does not end with its context is not waited for, whatever it says afterwards.
func TestRunAllWithoutEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		got := runAll(ctx, []check{
			{"deaf", func(context.Context) Finding { time.Sleep(time.Hour); return ok("fine") }},
			{"a moment late", func(ctx context.Context) Finding {
				<-ctx.Done()
				time.Sleep(patience / 2)
				return ok("fine")
			}},
			{"early", func(context.Context) Finding { return failed("a", "b", "c") }},
		})
		want := []Finding{
			{Check: "deaf", Status: Skipped, Seen: "there was no time left for it", Remedy: "run portero doctor again; something else here is slow"},
			{Check: "a moment late", Status: OK, Seen: "fine"},
			{Check: "early", Status: Failed, Expected: "a", Seen: "b", Remedy: "c"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 20*time.Second+patience {
			t.Errorf("took %v, want 20s and a moment", took)
		}
		time.Sleep(2 * time.Hour) // the deaf one ends
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("findings afterwards (-want +got):\n%s", diff)
		}
	})
}
