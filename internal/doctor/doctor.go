// Package doctor looks at the surroundings of a gateway and says what is wrong with them: what was expected, what was seen,
// and what to type.
//
// It does not set anything right (package setup does that for Logto), and decides nothing about the configuration itself,
// which package config has checked.
//
// Invariants:
//   - Nothing is changed anywhere, and no mail is sent. Redis is asked as the gateway's readiness asks it.
//   - No finding has a secret in it, nor text of somebody else's beyond what is reduced to a name, a word or a URL.
//   - All checks together take at most Options.Timeout and a moment more, whatever one of them does, and every one has a finding.
//   - One cause is told once: what cannot be looked at because of it is skipped and says where to look.
package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"portero/internal/config"
)

// Status is how a check came out.
type Status string

// How a check can come out.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, and is probably not what is meant
	Failed  Status = "failed"
	Skipped Status = "skipped" // it could not be looked at; Seen says why
)

// Finding is the outcome of one check.
type Finding struct {
	Check    string `json:"check"`
	Status   Status `json:"status"`
	Expected string `json:"expected,omitempty"`
	Seen     string `json:"seen"`
	Remedy   string `json:"remedy,omitempty"` // what to type
}

func ok(format string, a ...any) Finding {
	return Finding{Status: OK, Seen: fmt.Sprintf(format, a...)}
}

func warning(expected, seen, remedy string) Finding {
	return Finding{Status: Warning, Expected: expected, Seen: seen, Remedy: remedy}
}

func failed(expected, seen, remedy string) Finding {
	return Finding{Status: Failed, Expected: expected, Seen: seen, Remedy: remedy}
}

// skipped is a check that could not be made, and what would let it run.
func skipped(why, remedy string) Finding {
	return Finding{Status: Skipped, Seen: why, Remedy: remedy}
}

// see is a check that could not be made for a reason that another check tells.
func see(check string) Finding { return Finding{Status: Skipped, Seen: "see " + check} }

// Options says what to look at.
type Options struct {
	Config  *config.Config
	Outside []*url.URL       // addresses at which the upstreams must not be reached
	Version string           // of the command; "": it is not compared
	Now     func() time.Time // nil: time.Now
	Timeout time.Duration    // of all checks together; 0: 20 s
	// Admin asks the admin listener of the gateway that runs with Config for a path, with its token, and decodes the answer.
	// An error that has a Hint says what to type, and has nothing of somebody else's in it. nil: there is no token.
	Admin func(ctx context.Context, method, path string, query url.Values, into any) error
}

// check is one thing to look at. It ends with its context.
type check struct {
	name string
	run  func(context.Context) Finding
}

// look makes the check. One that breaks off is a finding, and the others go on.
func (c check) look(ctx context.Context) (f Finding) {
	defer func() {
		if recover() != nil { // its text could have anything in it
			f = failed("", "the check broke off: a defect of this command", "tell those who make Portero")
		}
	}()
	return c.run(ctx)
}

// Run makes all checks at once, and returns their findings in the order in which they are to be read.
func Run(ctx context.Context, o Options) []Finding {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout <= 0 {
		o.Timeout = 20 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	inFront, endFront := frontChecks(o)
	defer endFront()
	behind, endBehind := upstreamChecks(o)
	defer endBehind()
	ofLogto, endLogto := logtoChecks(o)
	defer endLogto()
	return runAll(ctx, slices.Concat(localChecks(o), inFront, behind, ofLogto, mailgunChecks(o)))
}

// patience is how long after the end of the time checks are waited for: those that end with it are about to.
const patience = 500 * time.Millisecond

// runAll makes all checks at once. One that is still under way when ctx ends has no time left to say what it saw; one that
// does not end with it is not waited for.
func runAll(ctx context.Context, checks []check) []Finding {
	type outcome struct {
		at int
		Finding
	}
	outcomes := make(chan outcome, len(checks)) // room for those that nobody waits for any more
	findings := make([]Finding, len(checks))
	for i, c := range checks {
		late := skipped("there was no time left for it", "run portero doctor again; something else here is slow")
		late.Check = c.name
		findings[i] = late
		go func() {
			f := c.look(ctx)
			if f.Check = c.name; ctx.Err() != nil && f.Status != OK {
				f = late
			}
			outcomes <- outcome{i, f}
		}()
	}
	ended, over := ctx.Done(), (<-chan time.Time)(nil)
	for waiting := len(checks); waiting > 0; {
		select {
		case o := <-outcomes:
			findings[o.at] = o.Finding
			waiting--
		case <-ended:
			ended, over = nil, time.After(patience)
		case <-over:
			return findings
		}
	}
	return findings
}
