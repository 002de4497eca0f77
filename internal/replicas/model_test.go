package replicas_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What replicas promise about one session, as something that porcupine can decide.
//
// It is not plain linearizability. Another replica may let in for a second after a sign-out was answered, so the call of
// each use that was let in there is moved back by a second. And while a sign-out is under way, or nobody knows whether it
// was done, both answers are right, on each replica by itself: so a sign-out is two events, its call, from which on a
// refusal is right, and its answer, from which on nothing else is.

// porcupineTimeout bounds the search for one session; what is not decided then counts as wrong.
const porcupineTimeout = 20 * time.Second

// standing is the state of a session.
type standing uint8

const (
	none  standing = iota // nobody has signed in yet
	alive                 // whoever has the session is let in
	limbo                 // it is being ended, or may have been
	over
)

// event is what happens to a session.
type event uint8

const (
	begins event = iota // a sign-in, from the first request to the session token
	let                 // a use that was let in
	refuse              // a use that was sent to sign in
	ending              // a sign-out or logout was sent, or the session was lost with a process
	ended               // that one was answered: done
)

func (e event) String() string {
	return [...]string{"signed in", "let in", "refused", "ending", "ended"}[e]
}

// operation is one line of a session's history.
type operation struct {
	event
	Replica    int
	Begin, End time.Time
	What       string // for messages
}

// history is what happened to one session, in any order.
type history []operation

var sessionModel = porcupine.Model{
	Init: func() any { return none },
	Step: func(state, input, _ any) (bool, any) {
		now := state.(standing)
		switch input.(event) {
		case begins:
			return now == none, alive
		case let:
			return now == alive || now == limbo, now
		case refuse:
			return now != alive, now
		case ending:
			if now == alive {
				return true, limbo
			}
			return true, now
		case ended:
			return now != alive, over
		}
		return false, now
	},
	DescribeOperation: func(input, _ any) string { return input.(event).String() },
}

// porcupine is a history as porcupine takes it, with times counted from its first. Another replica than the one that
// answered a sign-out may let in for bound longer.
func (h history) porcupine(bound time.Duration) []porcupine.Operation {
	var out []porcupine.Operation
	for _, o := range h {
		call, ret := o.Begin, o.End
		switch o.event {
		case let:
			call = h.letFrom(o, bound)
		case ending:
			ret = call
		case ended:
			call = ret
		}
		out = append(out, porcupine.Operation{Input: o.event, Call: call.Sub(h[0].Begin).Nanoseconds(), Return: ret.Sub(h[0].Begin).Nanoseconds()})
	}
	return out
}

// letFrom is when a use that was let in may have been looked at, for the order of things: up to bound before it began,
// but not before its own replica answered a sign-out.
func (h history) letFrom(use operation, bound time.Duration) time.Time {
	from := use.Begin.Add(-bound)
	for _, o := range h {
		if o.event == ended && o.Replica == use.Replica && o.End.Before(use.Begin) && o.End.After(from) {
			from = o.End.Add(1)
		}
	}
	return from
}

// check returns what is wrong with a history of one session, "" if nothing is.
func (h history) check(bound time.Duration) string {
	if len(h) == 0 {
		return ""
	}
	result := porcupine.CheckOperationsTimeout(sessionModel, h.porcupine(bound), porcupineTimeout)
	seen := h.plain(bound)
	switch {
	case result == porcupine.Ok && seen == "":
		return ""
	case seen != "":
		return fmt.Sprintf("porcupine: %s: %s", result, seen)
	}
	return fmt.Sprintf("porcupine: %s:\n%s", result, h)
}

// plain looks for the two things that can be wrong with a history, for people to read.
func (h history) plain(bound time.Duration) string {
	began, first := time.Time{}, time.Time{} // the end of the sign-in, and the first that may end the session
	for _, o := range h {
		if o.event == begins {
			began = o.End
		}
		if o.event == ending && (first.IsZero() || o.Begin.Before(first)) {
			first = o.Begin
		}
	}
	for _, o := range h {
		if o.event == refuse && !o.Begin.Before(began) && (first.IsZero() || o.End.Before(first)) {
			return fmt.Sprintf("%s after the sign-in replica %d refuses, and nothing has ended the session\n%s", o.Begin.Sub(began), o.Replica, h)
		}
		if o.event != let {
			continue
		}
		for _, e := range h {
			if e.event == ended && e.End.Before(h.letFrom(o, bound)) {
				return fmt.Sprintf("replica %d lets in %s after replica %d has answered the %s\n%s", o.Replica, o.Begin.Sub(e.End), e.Replica, e.What, h)
			}
		}
	}
	return ""
}

// String is the history in the order things began.
func (h history) String() string {
	sorted := slices.SortedFunc(slices.Values(h), func(a, b operation) int { return a.Begin.Compare(b.Begin) })
	var out strings.Builder
	for _, o := range sorted {
		fmt.Fprintf(&out, "  %9.3f to %9.3f  replica %d  %s %s\n", o.Begin.Sub(sorted[0].Begin).Seconds(), o.End.Sub(sorted[0].Begin).Seconds(), o.Replica, o.event, o.What)
	}
	return out.String()
}

// The checker itself, on histories that are right and wrong.
func TestModel(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(e event, replica int, begin, end float64) operation {
		moment := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
		return operation{event: e, Replica: replica, Begin: moment(begin), End: moment(end)}
	}
	signedIn := at(begins, 0, 0, 1)
	out := []operation{at(ending, 0, 5, 5.2), at(ended, 0, 5, 5.2)}
	for _, row := range []struct {
		name string
		more []operation
		ok   bool
	}{
		{"used on another replica at once", []operation{at(let, 1, 1.01, 1.02)}, true},
		{"refused after the sign-in", []operation{at(refuse, 1, 1.01, 1.02)}, false},
		{"refused during the sign-out", append(out, at(refuse, 1, 5.05, 5.1)), true},
		{"refused before it", append(out, at(refuse, 1, 4.8, 4.9)), false},
		{"let in during it, after somebody was refused", append(out, at(refuse, 1, 5.05, 5.1), at(let, 2, 5.12, 5.15)), true},
		{"let in elsewhere within the second", append(out, at(let, 1, 6.1, 6.15)), true},
		{"let in elsewhere after it", append(out, at(let, 1, 6.3, 6.35)), false},
		{"let in where it was answered", append(out, at(let, 0, 5.3, 5.35)), false},
		{"asked there while it was answered", append(out, at(let, 0, 5.1, 5.35)), true},
		{"an answer that took long", append(out, at(let, 1, 6.1, 9)), true},
		{"a sign-out that nobody answered", []operation{at(ending, 0, 5, 5.2), at(refuse, 1, 5.3, 5.4), at(let, 2, 9, 9.1)}, true},
		{"one more that was", []operation{at(ending, 0, 5, 5.2), at(ending, 1, 6, 6.1), at(ended, 1, 6, 6.1), at(let, 0, 7.2, 7.3)}, false},
	} {
		h := append(history{signedIn}, row.more...)
		if got := h.check(time.Second); (got == "") != row.ok {
			t.Errorf("%s: got %q, want right: %t", row.name, got, row.ok)
		}
	}
}
