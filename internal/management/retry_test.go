package management_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/management"
	"portero/internal/outbound"
)

// calls are one of each method. What they send and want is short.
var calls = map[string]func(context.Context, *management.Client) error{
	"GET": func(ctx context.Context, c *management.Client) error { _, err := c.Connectors(ctx); return err },
	"PATCH": func(ctx context.Context, c *management.Client) error {
		_, err := c.UpdateApplication(ctx, "app", management.Object{"name": "x"})
		return err
	},
	"DELETE": func(ctx context.Context, c *management.Client) error { return c.DeleteSecret(ctx, "app", "second") },
	"POST": func(ctx context.Context, c *management.Client) error {
		return c.TestConnector(ctx, management.MailgunConnector, "a@example.com", management.Object{})
	},
}

func TestTriedAgain(t *testing.T) {
	t.Parallel()
	broken := reply{err: io.ErrUnexpectedEOF}
	refused := reply{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	fine := map[string]reply{"GET": {status: 200, body: `[]`}, "PATCH": {status: 200, body: `{"id":"app"}`}, "DELETE": {status: 204}, "POST": {status: 204}}
	for name, tt := range map[string]struct {
		retries int
		first   []reply // then it works
		repeats int     // of all but POST; -1: it fails
		post    int     // the same of POST
	}{
		"nothing is wrong":               {3, nil, 0, 0},
		"429":                            {3, []reply{{status: 429}}, 1, 1},
		"429 three times":                {3, []reply{{status: 429}, {status: 429}, {status: 429}}, 3, 3},
		"429 once too often":             {3, []reply{{status: 429}, {status: 429}, {status: 429}, {status: 429}}, -1, -1},
		"429 with a code":                {3, []reply{{status: 429, body: `{"code":"request.rate_limited"}`}}, 1, 1},
		"500":                            {3, []reply{{status: 500}}, 1, -1},
		"502":                            {3, []reply{{status: 502}}, 1, -1},
		"503":                            {3, []reply{{status: 503}}, 1, -1},
		"504":                            {3, []reply{{status: 504}}, 1, -1},
		"broken":                         {3, []reply{broken}, 1, -1},
		"nobody listens":                 {3, []reply{refused}, 1, -1},
		"one after the other":            {3, []reply{broken, {status: 503}, {status: 429}}, 3, -1},
		"429, then a POST that broke":    {3, []reply{{status: 429}, broken}, 2, -1},
		"none are allowed":               {0, []reply{{status: 429}}, -1, -1},
		"none are allowed, broken":       {0, []reply{broken}, -1, -1},
		"one is allowed":                 {1, []reply{{status: 503}, {status: 503}}, -1, -1},
		"400 is an answer":               {3, []reply{{status: 400}}, -1, -1},
		"404 of a missing call":          {3, []reply{{status: 405}}, -1, -1},
		"501 will not be implemented":    {3, []reply{{status: 501, body: `{"code":"connector.not_found"}`}}, -1, -1},
		"mails are limited":              {3, []reply{{status: 429, body: `{"code":"request.message_rate_limited"}`}}, -1, -1},
		"what is answered is too much":   {3, []reply{{status: 400, body: strings.Repeat("x", 2<<20)}}, -1, -1},
		"a redirect":                     {3, []reply{{err: outbound.ErrRedirect}}, -1, -1},
		"an answer that is no HTTP":      {3, []reply{{err: outbound.ErrUnreadable}}, 1, -1},
		"a time-out of a single request": {3, []reply{{err: context.DeadlineExceeded}}, 1, -1},
	} {
		for method, call := range calls {
			t.Run(name+"/"+method, func(t *testing.T) {
				t.Parallel()
				n := 0
				w := &wire{}
				w.answer = func(r *http.Request, _ string) (reply, bool) {
					if r.URL.Path == "/oidc/token" {
						return reply{}, false
					}
					if n++; n <= len(tt.first) {
						return tt.first[n-1], true
					}
					return fine[method], true
				}
				want := tt.repeats
				if method == "POST" {
					want = tt.post
				}
				err := call(t.Context(), w.client(func(c *management.Config) { c.Retries = tt.retries }))
				if (err == nil) != (want >= 0) {
					t.Fatalf("got %v after %d requests, want repeats: %d", err, n, want)
				}
				if want >= 0 && n != want+1 {
					t.Errorf("got %d requests, want %d", n, want+1)
				}
				if len(w.waits) != n-1 {
					t.Errorf("got %d waits between %d requests", len(w.waits), n)
				}
				for i, d := range w.waits {
					if whole := 250 * time.Millisecond << i; d < whole/2 || d > whole {
						t.Errorf("wait %d: got %s, want %s to %s", i, d, whole/2, whole)
					}
				}
				if err != nil && n > tt.retries+1 {
					t.Errorf("got %d requests with %d retries", n, tt.retries)
				}
			})
		}
	}
}

func TestWhatFailedIsTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		method string
		answer reply
		want   string
		hint   string // a part
	}{
		"tried again":        {"GET", reply{status: 503}, "management API of Logto unavailable: connectors: status 503, tried 4 times", "log of Logto"},
		"too often":          {"GET", reply{status: 429}, "management API of Logto unavailable: connectors: status 429, tried 4 times", "try again later"},
		"perhaps done":       {"POST", reply{status: 502}, "management API of Logto unavailable: test connector: status 502; whether it was done is not known", "log of Logto"},
		"not done":           {"POST", reply{status: 429}, "management API of Logto unavailable: test connector: status 429, tried 4 times", "try again later"},
		"told to come later": {"POST", reply{status: 429, header: http.Header{"Retry-After": {"3600"}}}, "management API of Logto unavailable: test connector: status 429; it asks to be left alone for 1h0m0s", "try again later"},
		"broken": {"DELETE", reply{err: io.ErrUnexpectedEOF},
			`management API of Logto unavailable: delete secret: Delete "https://logto.example/api/applications/app/secrets/second": unexpected EOF, tried 4 times`, "logto.endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answer: always(tt.answer)}
			err := calls[tt.method](t.Context(), w.client(func(c *management.Config) { c.Retries = 3 }))
			if err == nil || err.Error() != tt.want || !errors.Is(err, management.ErrUnavailable) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), tt.hint) {
				t.Errorf("%v: want a hint with %q", err, tt.hint)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 7, 40, 0, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	const backoff, over = -1, -2
	for name, tt := range map[string]struct {
		value string
		want  time.Duration // backoff, or over: the call ends
	}{
		"seconds":          {"7", 7 * time.Second},
		"none":             {"0", backoff},
		"the most":         {"30", 30 * time.Second},
		"a second more":    {"31", over},
		"an hour":          {"3600", over},
		"a date":           {at(12 * time.Second), 12 * time.Second},
		"a date too far":   {at(time.Hour), over},
		"a date gone by":   {at(-time.Hour), backoff},
		"RFC 850":          {now.Add(3 * time.Second).Format("Monday, 02-Jan-06 15:04:05 GMT"), 3 * time.Second},
		"asctime":          {now.Add(3 * time.Second).Format(time.ANSIC), 3 * time.Second},
		"missing":          {"", backoff},
		"negative":         {"-5", backoff},
		"signed":           {"+5", backoff},
		"fraction":         {"1.5", backoff},
		"no number":        {"soon", backoff},
		"endless":          {strings.Repeat("9", 40), backoff},
		"overflow":         {"9223372036854775807", backoff},
		"many years":       {"2147483647", over},
		"a date that lies": {"Mon, 22 Nov 9999 07:40:00 GMT", over},
	} {
		for _, status := range []int{429, 503} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := 0
				w := &wire{}
				w.answer = func(r *http.Request, _ string) (reply, bool) {
					if r.URL.Path == "/oidc/token" {
						return reply{}, false
					}
					if n++; n > 1 {
						return reply{}, false
					}
					return reply{status: status, header: http.Header{"Retry-After": {tt.value}}}, true
				}
				_, err := w.client(func(c *management.Config) {
					c.Retries, c.Now = 3, func() time.Time { return now }
				}).Connectors(t.Context())
				switch {
				case tt.want == over:
					if !errors.Is(err, management.ErrUnavailable) || len(w.waits) != 0 || n != 1 {
						t.Errorf("got %v, waits %v, want an end at once", err, w.waits)
					}
				case err != nil || len(w.waits) != 1:
					t.Errorf("got %v, waits %v, want one wait", err, w.waits)
				case tt.want == backoff && (w.waits[0] <= 0 || w.waits[0] > 250*time.Millisecond):
					t.Errorf("got a wait of %s, want up to 250ms", w.waits[0])
				case tt.want != backoff && w.waits[0] != tt.want:
					t.Errorf("got a wait of %s, want %s", w.waits[0], tt.want)
				}
			})
		}
	}
}

// Nothing is waited for that ends after the call: not past its own time, not past its caller's.
func TestWaitsEndWithTheCall(t *testing.T) {
	t.Parallel()
	answer := always(reply{status: 503, header: http.Header{"Retry-After": {"20"}}})
	t.Run("its own time", func(t *testing.T) {
		t.Parallel()
		w := &wire{answer: answer}
		_, err := w.client(func(c *management.Config) { c.Retries, c.Timeout = 3, 10*time.Second }).Connectors(t.Context())
		if !errors.Is(err, management.ErrUnavailable) || len(w.waits) != 0 || len(w.requests) != 1 {
			t.Errorf("got %v, waits %v", err, w.waits)
		}
	})
	t.Run("its caller's time", func(t *testing.T) {
		t.Parallel()
		w := &wire{answer: answer}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := w.client(func(c *management.Config) { c.Retries = 3 }).Connectors(ctx)
		if !errors.Is(err, management.ErrUnavailable) || len(w.waits) != 0 || len(w.requests) != 1 {
			t.Errorf("got %v, waits %v", err, w.waits)
		}
	})
	t.Run("the caller leaves while it waits", func(t *testing.T) {
		t.Parallel()
		w := &wire{answer: answer}
		ctx, cancel := context.WithCancel(t.Context())
		_, err := w.client(func(c *management.Config) {
			c.Retries = 3
			c.Wait = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
		}).Connectors(ctx)
		if !errors.Is(err, management.ErrUnavailable) || len(w.requests) != 1 {
			t.Errorf("got %v after %d requests", err, len(w.requests))
		}
	})
	t.Run("the caller leaves while it asks", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		w := &wire{}
		w.answer = func(r *http.Request, s string) (reply, bool) {
			if r.URL.Path != "/oidc/token" {
				cancel()
			}
			return answer(r, s)
		}
		_, err := w.client(func(c *management.Config) { c.Retries = 3 }).Connectors(ctx)
		if !errors.Is(err, management.ErrUnavailable) || len(w.waits) != 0 || len(w.requests) != 1 {
			t.Errorf("got %v after %d requests, waits %v", err, len(w.requests), w.waits)
		}
	})
	t.Run("by the clock", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		w := &wire{}
		w.answer = func(r *http.Request, s string) (reply, bool) {
			if r.URL.Path != "/oidc/token" {
				cancel()
			}
			return answer(r, s)
		}
		_, err := w.client(func(c *management.Config) { c.Retries, c.Wait = 3, nil }).Connectors(ctx)
		if !errors.Is(err, management.ErrUnavailable) || len(w.requests) != 1 {
			t.Errorf("got %v after %d requests", err, len(w.requests))
		}
	})
}

// The token endpoint is asked again like a GET: a token too many changes nothing.
func TestTokenIsAskedForAgain(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]reply{"429": {status: 429}, "503": {status: 503}, "broken": {err: io.EOF}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			w := &wire{}
			w.answer = func(r *http.Request, _ string) (reply, bool) {
				if r.URL.Path != "/oidc/token" {
					return reply{status: 204}, true
				}
				n++
				return first, n <= 2
			}
			c := w.client(func(c *management.Config) { c.Retries = 3 })
			if err := calls["POST"](t.Context(), c); err != nil || w.tokens != 3 || len(w.requests) != 1 {
				t.Errorf("got %v, %d token calls, %q", err, w.tokens, w.requests)
			}
		})
	}
}

// On a real connection, one that was used before and is cut off: net/http itself would send some requests again.
func TestPOSTIsSentOnce(t *testing.T) {
	t.Parallel()
	var posts atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/oidc/token":
			answer(w, 200, `{"access_token":"CANARY-token","expires_in":3600,"token_type":"Bearer"}`)
		case r.Method == http.MethodPost:
			posts.Add(1)
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		default:
			answer(w, 200, `[]`)
		}
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := outbound.New(outbound.Config{})
	t.Cleanup(client.CloseIdleConnections)
	c := management.New(management.Config{Endpoint: u, AppID: "m", AppSecret: "s", Client: client, Retries: 3})
	if _, err := c.Connectors(t.Context()); err != nil { // so that the connection is kept
		t.Fatal(err)
	}
	_, err = c.CreateRole(t.Context(), "admin", "")
	if !errors.Is(err, management.ErrUnavailable) || !strings.Contains(err.Error(), "whether it was done is not known") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(posts.Load(), int32(1)); d != "" {
		t.Errorf("requests, got -, want +:\n%s", d)
	}
}
