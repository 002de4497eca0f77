package management

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

const (
	// firstWait is how long the first retry is waited for where Logto does not say; each one waits twice as long.
	firstWait = 250 * time.Millisecond
	maxWait   = 5 * time.Second
	// maxAfter is the longest Retry-After that is waited for. A longer one ends the call.
	maxAfter = 30 * time.Second
)

// send sends a request until it is answered, as often and as long as Config allows.
func (m *Client) send(ctx context.Context, r request, into any) (http.Header, error) {
	for tries := 1; ; tries++ {
		header, err := m.exchange(ctx, r, into)
		down, ok := errors.AsType[*unavailable](err)
		if !ok {
			return header, err
		}
		down.tries, down.unknown = tries, !r.repeatable && down.status != http.StatusTooManyRequests
		if tries > m.config.Retries || down.unknown || ctx.Err() != nil {
			return nil, down
		}
		pause := down.after
		if pause <= 0 {
			pause = backoff(tries)
		}
		if deadline, bounded := ctx.Deadline(); pause > maxAfter || bounded && time.Until(deadline) <= pause || m.config.Wait(ctx, pause) != nil {
			return nil, down
		}
	}
}

// backoff is how long to wait after so many tries: at least half of what doubles each time, so that many who were
// refused together do not come back together.
func backoff(tries int) time.Duration {
	whole := min(firstWait<<min(tries-1, 16), maxWait)
	var b [8]byte
	rand.Read(b[:])
	return whole/2 + time.Duration(binary.LittleEndian.Uint64(b[:])%uint64(whole/2+1))
}

// wait is Config.Wait by the clock.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads the header of that name: seconds, or a date (RFC 9110 10.2.3). 0: it says nothing. A day stands for
// all that is longer.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, 24*time.Hour)
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, date.Sub(now)), 24*time.Hour)
	}
	return 0
}

// isDown reports whether an answer means that asking later may help. The mails to one address are limited for minutes,
// and what is not implemented will not be: these two are refusals.
func isDown(status int, body []byte) bool {
	switch {
	case status == http.StatusTooManyRequests:
		return codeOf(body) != mailsLimited
	case status == http.StatusNotImplemented:
		return false
	}
	return status >= 500
}

// unavailable is why Logto could not be asked; ErrUnavailable is in its chain.
type unavailable struct {
	call    string
	status  int           // 0: there was no answer
	after   time.Duration // that Logto asks to be left alone; 0: it does not say
	tries   int
	unknown bool // it may have been done
	cause   error
}

func (e *unavailable) Error() string {
	text := fmt.Sprintf("%v: %s", ErrUnavailable, e.call)
	if e.status != 0 {
		text += fmt.Sprintf(": status %d", e.status)
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	if e.tries > 1 {
		text += fmt.Sprintf(", tried %d times", e.tries)
	}
	if e.after > 0 {
		text += fmt.Sprintf("; it asks to be left alone for %s", e.after.Round(time.Second))
	}
	if e.unknown {
		text += "; whether it was done is not known"
	}
	return text
}

func (e *unavailable) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, e.cause}
}

// Hint is what to do about it.
func (e *unavailable) Hint() string {
	switch {
	case errors.Is(e.cause, context.Canceled):
		return ""
	case e.status == http.StatusTooManyRequests:
		return "Logto limits how often it is asked: try again later"
	case e.status >= 500:
		return "look at the log of Logto, or of the proxy before it, and try again"
	}
	return "check that Logto runs and can be reached from here, and that logto.endpoint (logto.internal_endpoint, if it is set) is its address"
}
