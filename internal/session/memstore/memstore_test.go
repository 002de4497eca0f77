package memstore_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"portero/internal/session"
	"portero/internal/session/memstore"
	"portero/internal/session/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) session.Store {
		return memstore.New(memstore.Config{Now: clock.Now})
	})
}

func TestExpiredRowsLeaveMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		s := memstore.New(memstore.Config{})
		defer s.Close()
		for i := range 100 {
			row := session.Row{Key: fmt.Sprint(i), Version: 1, Subject: "a", ExpiresAt: time.Now().Add(time.Hour)}
			if i < 40 {
				row.ExpiresAt = time.Now().Add(30 * time.Second)
			}
			if err := s.Create(ctx, row); err != nil {
				t.Fatal(err)
			}
		}
		s.Mark(ctx, session.Marker{Kind: session.Ended, By: "x"}, time.Now(), 30*time.Second)
		s.Consume(ctx, "x", 30*time.Second)
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{59 * time.Second, 100}, {2 * time.Second, 60}, {time.Hour, 0}} {
			time.Sleep(step.after) // the bubble's clock, no real time passes
			synctest.Wait()
			if got, err := s.Count(ctx); got != step.want || err != nil {
				t.Errorf("after %s more: %d rows, %v; want %d", step.after, got, err, step.want)
			}
		}
	})
}
