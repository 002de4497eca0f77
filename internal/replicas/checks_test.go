package replicas_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// lost names what may have ended a session although nobody asked for it.
const lost = "a refresh that was lost with the process"

// history is what happened to a session: what was seen of it, what happened to all sessions of the person, and
// refreshes that processes may have lost.
func (w *world) history(x *session) history {
	x.mu.Lock()
	h := slices.Clone(x.seen)
	x.mu.Unlock()
	began := h[0]
	x.human.mu.Lock()
	for _, l := range x.human.logouts {
		o := l.operation
		switch {
		case l.done && o.End.Before(began.Begin), !l.done && w.given(o).Before(began.Begin):
		case o.Begin.Before(began.End): // it may have met the session, or not
			o.event, o.Begin = ending, began.End
			h = append(h, o)
		default:
			o.event = ending
			h = append(h, o)
			if l.done {
				o.event = ended
				h = append(h, o)
			}
		}
	}
	x.human.mu.Unlock()
	for _, call := range w.site.Issuer.TokenCalls("refresh_token") {
		w.mu.Lock()
		mine := w.sessions[call.Nonce] == x
		w.mu.Unlock()
		if !mine {
			continue
		}
		if w.excused(call) {
			h = append(h, operation{event: ending, Replica: call.Replica, Begin: call.Begin, End: call.Begin, What: lost})
		}
	}
	return h
}

// given is when a logout without success was given up for sure: the replica goes on with it after it has answered.
func (w *world) given(o operation) time.Time {
	if o.End.IsZero() {
		return time.Now()
	}
	whole := w.faults.Whole(o.Replica, o.End.Add(time.Second), settle)
	if whole.IsZero() {
		return time.Now()
	}
	return whole.Add(time.Second)
}

// excused reports whether the process that made a call was stopped or killed before it can have stored what the call
// brought.
func (w *world) excused(call tokenCall) bool {
	until := call.End
	if until.IsZero() {
		until = time.Now()
	}
	if whole := w.faults.Whole(call.Replica, until, settle); whole.IsZero() {
		until = time.Now()
	} else if whole.After(until) { // it could not be stored for so long
		until = whole
	}
	return !w.faults.Halted(call.Replica, call.Begin.Add(-100*time.Millisecond), until.Add(500*time.Millisecond)).IsZero()
}

// check checks a session that nobody uses any more.
func (w *world) check(x *session) {
	defer func() {
		for _, st := range x.streams {
			st.Stop()
		}
		x.mu.Lock()
		x.seen, x.streams = nil, nil
		x.mu.Unlock()
	}()
	if w.failed.Load() { // one violation is enough
		return
	}
	h := w.history(x)
	if wrong := h.check(bound); wrong != "" {
		w.violate("session of %s, %s: %s%s", x.client.Subject, x.client.SID, wrong, w.around(x, h))
	}
	w.count("sessions checked")
	if slices.ContainsFunc(h, func(o operation) bool { return o.What == lost }) {
		w.count("of these perhaps lost with a process")
	}
	var last, first time.Time // the first answer to an ending, the first beginning of one
	for _, o := range h {
		if o.event == ended && (last.IsZero() || o.End.Before(last)) {
			last = o.End
		}
		if o.event == ending && (first.IsZero() || o.Begin.Before(first)) {
			first = o.Begin
		}
	}
	for _, st := range x.streams {
		w.checkStream(st, first, last)
	}
}

// around is what else happened while a session lived, for people to read.
func (w *world) around(x *session, h history) string {
	from, to := h[0].Begin, h[0].End
	for _, o := range h {
		to = later(to, o.End)
	}
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	add := func(at time.Time, format string, args ...any) {
		if at.After(from.Add(-settle)) && at.Before(to) {
			lines = append(lines, line{at, fmt.Sprintf(format, args...)})
		}
	}
	x.human.mu.Lock()
	for _, l := range x.human.logouts {
		add(l.Begin, "%s on replica %d: sent", l.What, l.Replica)
		add(l.End, "%s on replica %d: done %t", l.What, l.Replica, l.done)
	}
	x.human.mu.Unlock()
	for _, grant := range []string{"authorization_code", "refresh_token"} {
		for _, c := range w.site.Issuer.TokenCalls(grant) {
			w.mu.Lock()
			mine := w.sessions[c.Nonce] == x
			w.mu.Unlock()
			if mine {
				add(c.Begin, "%s from replica %d", grant, c.Replica)
				add(c.End, "%s from replica %d: answered %d", grant, c.Replica, c.Status)
			}
		}
	}
	for _, r := range w.site.Replicas {
		for _, f := range w.faults.Met(r.N, from.Add(-settle), to) {
			add(f.Begin, "%s is %s", r, f.trouble)
			add(f.End, "%s was %s", r, f.trouble)
		}
		for text := range strings.Lines(r.Log.String()) {
			var entry struct {
				Time time.Time
				Msg  string
			}
			if json.Unmarshal([]byte(text), &entry) == nil &&
				entry.Msg != "request" && (entry.Msg != "audit" || strings.Contains(text, x.client.Subject)) {
				add(entry.Time, "%s logs %s", r, strings.TrimSpace(text))
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var out strings.Builder
	out.WriteString("what else happened:\n")
	for _, l := range lines {
		fmt.Fprintf(&out, "  %9.3f %s\n", l.at.Sub(from).Seconds(), l.text)
	}
	return out.String()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkStream checks something that was open for a session whose end began at first and was answered at done.
func (w *world) checkStream(st *stream, first, done time.Time) {
	over := func() bool {
		select {
		case <-st.Ended:
			return true
		default:
			return false
		}
	}
	if !over() && !done.IsZero() {
		// A replica that is not well learns of it when it is.
		for deadline := done.Add(openBound); !over(); {
			whole := w.faults.Whole(st.Replica, deadline, settle)
			if whole.IsZero() || whole.After(time.Now()) {
				if !rest(context.Background(), 50*time.Millisecond) {
					return
				}
				continue
			}
			if !over() {
				w.violate("the %s on replica %d is open %s after the session has ended", st.What, st.Replica, time.Since(done))
			}
			return
		}
	}
	if !over() {
		return
	}
	well := len(w.faults.Met(st.Replica, st.At.Add(-settle), st.At)) == 0
	switch {
	case !well:
		return
	case first.IsZero() || st.At.Before(first):
		w.violate("the %s on replica %d ended after %s, and nothing has ended the session: %v", st.What, st.Replica, st.At.Sub(st.Since), st.Err)
	case !done.IsZero() && st.At.After(done.Add(openBound)):
		w.violate("the %s on replica %d ended %s after the session", st.What, st.Replica, st.At.Sub(done))
	case st.What == "event stream" && st.Err != nil:
		w.violate("the event stream on replica %d has no clean end: %v", st.Replica, st.Err)
	case st.What == "WebSocket" && st.Code != websocket.StatusPolicyViolation:
		w.violate("the WebSocket on replica %d was closed with %d: %v", st.Replica, st.Code, st.Err)
	default:
		w.count("streams closed in time")
	}
}

// checkTokens checks what reached the issuer.
func (w *world) checkTokens() {
	for _, times := range w.site.Issuer.Presented("authorization_code") {
		if times > 1 {
			w.violate("a code was redeemed %d times", times)
		}
	}
	calls := w.site.Issuer.TokenCalls("refresh_token")
	of := map[string][]tokenCall{} // :: nonce → calls
	for _, c := range calls {
		of[c.Nonce] = append(of[c.Nonce], c)
	}
	for _, all := range of {
		for i, a := range all {
			for _, b := range all[i+1:] {
				together := a.End.IsZero() || b.Begin.Before(a.End)
				switch {
				case !together && a.Presented != b.Presented, w.excused(a):
				case together:
					w.violate("replicas %d and %d refresh one session at the same time, the second %s after the first", a.Replica, b.Replica, b.Begin.Sub(a.Begin))
				default:
					w.violate("replica %d presents a refresh token that replica %d has presented, %s later", b.Replica, a.Replica, b.Begin.Sub(a.Begin))
				}
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked = len(calls)
}
