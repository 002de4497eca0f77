package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// An event stream is the one kind of answer that may end where the upstream did not
// end it: it promises no completeness, and an event that its end cuts off is
// discarded by who reads it (HTML Standard, section 9.2.6). So when its session
// ends, or the process does, it ends properly, between two events if the upstream
// gets there in time. Any other answer breaks off, and is seen to.

// isEvents reports whether an answer is an event stream.
func isEvents(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.Trim(kind, " \t"), "text/event-stream")
}

// canFinish reports whether an answer that is stopped for this reason ends properly
// if it is an event stream.
func canFinish(cause error) bool {
	return errors.Is(cause, ErrSessionEnded) || errors.Is(cause, errDraining)
}

// finish ends an event stream, and reports whether nothing more of it is needed. The
// caller holds x.mu.
func (x *exchange) finish() bool {
	x.finishing, x.cut = true, true
	_ = http.NewResponseController(x.w.ResponseWriter).SetWriteDeadline(time.Now().Add(farewell))
	if x.answer.events.between() {
		return true
	}
	cause := x.cause
	x.farewell = time.AfterFunc(farewell, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.served {
			x.cancel(cause)
			x.stopReading()
		}
	})
	return false
}

// finished reports whether an event stream ends here, before more of it is read.
func (b *answerBody) finished() bool {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	return b.x.finishing && b.events.between()
}

// follow looks at what was read of an event stream: all of it passes, or what is left
// of the last event.
func (b *answerBody) follow(p []byte, err error) (int, error) {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	if !b.x.finishing {
		b.events.pass(p, false)
		return len(p), err
	}
	n := b.events.pass(p, true)
	if err == nil && !b.events.between() {
		return n, nil
	}
	return n, io.EOF
}

// events follows an event stream as it passes (HTML Standard, section 9.2.5). Its
// zero value is the beginning of one.
type events struct {
	opaque bool // compressed: nobody can tell
	within bool // a line
	cr     bool // the last byte ended a line, and a line feed may belong to it
	open   bool // the event has a line that is no comment
}

// between reports whether no event would be cut off here.
func (e *events) between() bool { return e.opaque || !e.within && !e.open }

// pass goes over p and returns its length. With last, it stops behind the event that
// is open.
func (e *events) pass(p []byte, last bool) int {
	for i, c := range p {
		if last && e.between() {
			return i
		}
		switch {
		case e.opaque:
			return len(p)
		case c == '\n' && e.cr:
			e.cr = false
		case c == '\n' || c == '\r':
			e.open = e.open && e.within
			e.within, e.cr = false, c == '\r'
		default:
			e.open = e.open || !e.within && c != ':'
			e.within, e.cr = true, false
		}
	}
	return len(p)
}
