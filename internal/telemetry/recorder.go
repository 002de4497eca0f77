package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// Recorder records every request once it has been answered.
type Recorder struct {
	// Log receives the lines. Nil: slog.Default().
	Log *slog.Logger
	// Metrics are counted up. Nil: none are.
	Metrics *Metrics
	// Access writes a line for every request. False: only for those that went
	// wrong, that is with an error or a support code.
	Access bool
	// Failed answers a request whose handler panicked before it answered. Nil: a
	// short text with the support code.
	Failed func(w http.ResponseWriter, r *http.Request)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// request is all that one request needs, in one allocation.
type request struct {
	context.Context
	x Exchange
	w writer
}

// Value hands out the exchange, and otherwise what the context below has.
func (q *request) Value(key any) any {
	if key == (contextKey{}) {
		return &q.x
	}
	return q.Context.Value(key)
}

// Wrap returns a handler that records what next answers. A panic in next is
// logged and answered; http.ErrAbortHandler, and a panic after the answer has
// begun, go on to the server, which then breaks the connection, so that nobody
// takes half an answer for a whole one.
func (t *Recorder) Wrap(next http.Handler) http.Handler {
	log, now := t.Log, t.Now
	if log == nil {
		log = slog.Default()
	}
	if now == nil {
		now = time.Now
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Context: r.Context(), w: writer{ResponseWriter: w}}
		q.x.Start = now()
		method, host, target, peer := r.Method, r.Host, r.RequestURI, r.RemoteAddr
		record := func(aborted bool) {
			took := now().Sub(q.x.Start)
			t.Metrics.request(q, took)
			t.access(log, q, method, host, target, peer, took, aborted)
		}
		r = r.WithContext(q)

		defer func() {
			cause := recover()
			if cause == nil {
				record(false)
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				record(true)
				panic(http.ErrAbortHandler)
			}
			q.x.SupportCode()
			q.x.Err = fmt.Errorf("panic: %v", cause)
			log.LogAttrs(q, slog.LevelError, "panic", slog.String("support_code", q.x.Code),
				slog.String("error", q.x.Err.Error()), slog.String("stack", string(debug.Stack())))
			if q.w.status != 0 {
				record(true)
				panic(http.ErrAbortHandler)
			}
			t.failed(&q.w, r, q.x.Code)
			record(false)
		}()
		next.ServeHTTP(&q.w, r)
	})
}

func (t *Recorder) failed(w http.ResponseWriter, r *http.Request, code string) {
	clear(w.Header()) // half a page's headers
	if t.Failed != nil {
		t.Failed(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusInternalServerError)
	io.WriteString(w, "Something went wrong here. Code: "+code+"\n")
}

// access writes the line of one request.
func (t *Recorder) access(log *slog.Logger, q *request, method, host, target, peer string, took time.Duration, aborted bool) {
	x := &q.x
	trouble := x.Err != nil || x.Code != ""
	if x.Quiet && !trouble || !t.Access && !trouble {
		return
	}
	level := slog.LevelInfo
	if x.Err != nil {
		level = slog.LevelWarn
	}
	if !log.Enabled(q, level) {
		return
	}
	if x.Host != "" {
		host = x.Host
	}
	if x.Method != "" {
		method = x.Method
	}
	path := x.Path
	if path == "" {
		path, _, _ = strings.Cut(target, "?")
	}
	client := x.Client
	if client == "" {
		client, _, _ = net.SplitHostPort(peer)
	}

	var room [20]slog.Attr
	attrs := append(room[:0],
		slog.String("method", method),
		slog.String("host", host),
		slog.String("path", path),
		slog.Int("status", q.w.answered()),
		slog.Int64("bytes", q.w.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.String("client", client),
	)
	for _, a := range [...]struct{ key, value string }{
		{"mode", x.Mode}, {"route", x.Route}, {"decision", x.Decision}, {"reason", x.Reason}, {"would_deny", x.WouldDeny}, {"subject", x.Subject}, {"session", x.SessionID},
		{"support_code", x.Code}, {"request_id", x.RequestID}, {"upstream", x.Upstream},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.key, a.value))
		}
	}
	if aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if x.Err != nil {
		attrs = append(attrs, slog.String("error", x.Err.Error()))
	}
	log.LogAttrs(q, level, "request", attrs...)
}

// answered is the status as the client has it: a handler that writes nothing
// has answered 200.
func (w *writer) answered() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
