package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

func appRig(t *testing.T) (*gatewaytest.Rig, *app) {
	t.Helper()
	a := newApp(t)
	return gatewaytest.New(t, &gatewaytest.Options{Routes: a.routes}), a
}

// WS-06, SE-09, SE-10: what is open for a session ends with it, on all its hosts, within two seconds, and brings
// nothing back.
func TestSignOutEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	rig, a := appRig(t)
	b := rig.SignedIn(t, "/")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "bob00000000a", "email": "bob@example.com", "email_verified": true, "sid": "sid-2"}
	})
	other := rig.SignedIn(t, "/")
	cookie := b.Cookies("localhost")[rig.Cookie()]

	mine, theirs := dialSocket(t, rig, b, "/ws", nil), dialSocket(t, rig, other, "/ws", nil)
	events := b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, nil))
	defer events.Body.Close()
	slow := make(chan *http.Response, 1)
	go func() {
		resp, err := b.Send(b.Request(http.MethodGet, rig.URL+"/wait/x", nil, map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}))
		if err != nil {
			t.Error(err)
		}
		slow <- resp
	}()
	waitFor(t, "the slow request", a.begun)
	mine.send("x")
	mine.receive()

	start := time.Now()
	if got := b.Post(rig.URL+"/sign-out", nil); got.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing out: got %s, want 303", got.Status)
	}
	if got := mine.closed(); got != 1008 {
		t.Errorf("the WebSocket ended with %d, want 1008", got)
	}
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream broke off: %v", err)
	}
	if resp := <-slow; resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the slow request: got %v, want 401", resp)
	} else {
		resp.Body.Close()
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("all that took %s, want two seconds at most", took)
	}
	ended := map[string]bool{}
	for range 3 {
		ended[waitFor(t, "the application to notice", a.gone)] = true
	}
	if !ended["/ws"] || !ended["/events"] || !ended["/wait/x"] {
		t.Errorf("the application noticed the end of %v", ended)
	}
	if got := rig.Sessions(t); got != 1 {
		t.Errorf("sessions left: got %d, want the other one", got)
	}
	again := rig.Browser(t)
	again.SetCookie("localhost", rig.Cookie(), cookie)
	if got := again.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("with the old cookie: got %s, want 302", got.Status)
	}
	if _, resp, err := openSocket(rig, again, "/ws", nil); err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a WebSocket with the old cookie: got %v, want 401", resp)
	}
	theirs.send("still here")
	if got := theirs.receive(); got != "still here" {
		t.Errorf("the other person's WebSocket: got %q", got)
	}
}

// WS-06: what is open does not outlive its session's absolute end.
func TestSessionEndsWhatIsOpen(t *testing.T) {
	t.Parallel()
	a := newApp(t)
	clock := gatewaytest.NewClock()
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: a.routes, Session: "store: memory, lifetime: 1m, idle_timeout: 1m", Clock: clock})
	b := rig.SignedIn(t, "/")
	socket := dialSocket(t, rig, b, "/ws", nil)
	events := b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, nil))
	defer events.Body.Close()
	clock.Add(59 * time.Second)
	socket.send("a second is left")
	if got := socket.receive(); got != "a second is left" {
		t.Errorf("echo: got %q", got)
	}
	start := time.Now()
	clock.Add(time.Second)
	if got := socket.closed(); got != 1008 {
		t.Errorf("the WebSocket ended with %d, want 1008", got)
	}
	if _, err := io.ReadAll(events.Body); err != nil {
		t.Errorf("the event stream broke off: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("they ended after %s, want two seconds at most", took)
	}
}

// WS-09: every event arrives when it is sent, and the application learns when nobody listens any more.
func TestEventStream(t *testing.T) {
	t.Parallel()
	rig, a := appRig(t)
	b := rig.SignedIn(t, "/")
	ctx, leave := context.WithCancel(t.Context())
	events := b.Open(b.Request(http.MethodGet, rig.URL+"/events", nil, nil).WithContext(ctx))
	defer events.Body.Close()
	if got := events.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type: got %q", got)
	}
	for n := range 5 {
		a.event <- fmt.Sprint(n) // the next one is not sent before this one has come
		if got := readEvent(t, events.Body); got != fmt.Sprint(n) {
			t.Errorf("event: got %q, want %d", got, n)
		}
	}
	leave()
	if got := waitFor(t, "the application to notice", a.gone); got != "/events" {
		t.Errorf("got %q, want /events", got)
	}
}

// An answer's trailers pass, less those that are ours to say; a request's do not (RFC 9110 6.5.1 leaves it to us).
func TestTrailers(t *testing.T) {
	t.Parallel()
	rig, _ := appRig(t)
	b := rig.SignedIn(t, "/")
	r := b.Request(http.MethodPost, rig.URL+"/trailers", io.MultiReader(strings.NewReader("x")), map[string]string{"Origin": rig.URL, "Sec-Fetch-Site": "same-origin"})
	r.Trailer = http.Header{"Checksum": {"42"}}
	got := b.Do(r)
	if got.Text != "body" || got.Trailer.Get("Digest-Of-It") != "abc:" {
		t.Errorf("got %q with the trailers %v, want the application's, made without ours", got.Text, got.Trailer)
	}
	if got := got.Trailer.Get("X-Forwarded-User"); got != "" {
		t.Errorf("an identity header as a trailer: got %q", got)
	}
}
