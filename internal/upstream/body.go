package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"
)

// requestBody is the client's body on its way to the upstream.
type requestBody struct {
	body    io.Reader
	x       *exchange
	touched atomic.Bool   // somebody has begun to read it
	mu      sync.Mutex    // held while somebody waits for the client
	reading atomic.Bool   // somebody does
	closed  atomic.Bool   // the request has been served: net/http has its body back
	refused atomic.Bool   // the upstream answers instead of asking for the body, as far as is known
	asked   chan struct{} // closed when it was no answer, or not the last one; nil: nobody waits for one
	read    atomic.Int64
	ended   atomic.Bool // read to its end
}

// remains reports whether there is a body that has not been read to its end.
func (b *requestBody) remains(length int64) bool {
	return b.body != nil && !b.ended.Load() && (length < 0 || b.read.Load() < length)
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.refused.Load() && !b.touched.Load() {
		// net/http would now send the body after all, to keep its connection, and
		// the client would be told to continue, only to be refused. Or it begins to
		// send before it says that what came was the upstream asking for it.
		select {
		case <-b.asked:
		case <-b.x.Done():
			return 0, errServed
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading.Store(true) // before these are looked at, see exchange.stopReading
	defer b.reading.Store(false)
	if b.closed.Load() || b.x.Err() != nil {
		return 0, errServed
	}
	b.touched.Store(true)
	n, err := b.body.Read(p)
	b.read.Add(int64(n))
	switch {
	case err == nil:
		b.x.idle.touch()
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
		b.x.idle.sent()
	default:
		b.x.mu.Lock()
		b.x.broken = err
		b.x.mu.Unlock()
	}
	return n, err
}

// wait returns once no read waits for the client.
func (b *requestBody) wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
}

// expecting follows what the upstream says to a client that waits for 100
// Continue before it sends its body (RFC 9110, section 10.1.1).
func (b *requestBody) expecting(ctx context.Context) context.Context {
	b.asked = make(chan struct{})
	asked := sync.OnceFunc(func() { close(b.asked) })
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { b.refused.Store(true) },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			b.refused.Store(false)
			asked()
			return nil
		},
	})
}

// Close does nothing: the body is net/http's, and another attempt may need it.
func (b *requestBody) Close() error { return nil }

// answerBody is the upstream's body on its way to the client.
type answerBody struct {
	body io.ReadCloser
	res  *http.Response
	x    *exchange

	stream bool   // an event stream
	events events // guarded by exchange.mu
}

func (b *answerBody) Read(p []byte) (int, error) {
	b.x.idle.touch() // what was read last has been written
	if b.stream && b.finished() {
		return 0, io.EOF
	}
	n, err := b.body.Read(p)
	b.x.idle.touch()
	if b.stream {
		n, err = b.follow(p[:n], err)
	}
	if err == io.EOF && len(b.res.Trailer) > 0 {
		b.x.proxy.clean(b.res.Trailer)
	}
	return n, err
}

func (b *answerBody) Close() error { return b.body.Close() }

// idleWatch ends an exchange in which nothing moves. It watches while a body is
// sent or an answer comes, not while the upstream thinks: that time has a limit
// of its own.
type idleWatch struct {
	after time.Duration // 0: not watched, and nothing below is used
	mu    sync.Mutex
	timer *time.Timer
	on    bool
	over  bool // for good
	heads bool // the answer's head has come
}

func (w *idleWatch) start(x *exchange, after time.Duration, body bool) {
	if after <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after, w.on = after, body
	w.timer = time.AfterFunc(after, func() {
		cause := errIdle
		if x.request.reading.Load() {
			cause = errClientIdle
		}
		x.stop(cause, statusGoingAway)
	})
	if !body {
		w.timer.Stop()
	}
}

// touch says that something has moved.
func (w *idleWatch) touch() {
	if w.after <= 0 {
		return
	}
	w.mu.Lock()
	if w.on && !w.over {
		w.timer.Reset(w.after)
	}
	w.mu.Unlock()
}

// sent says that the request's body has been read to its end.
func (w *idleWatch) sent() {
	if w.after <= 0 {
		return
	}
	w.mu.Lock()
	if !w.heads {
		w.on = false
		w.timer.Stop()
	}
	w.mu.Unlock()
}

// answering says that the answer's head has come.
func (w *idleWatch) answering() {
	if w.after <= 0 {
		return
	}
	w.mu.Lock()
	w.heads, w.on = true, true
	if !w.over {
		w.timer.Reset(w.after)
	}
	w.mu.Unlock()
}

func (w *idleWatch) stop() {
	if w.after <= 0 {
		return
	}
	w.mu.Lock()
	w.over = true
	w.timer.Stop()
	w.mu.Unlock()
}
