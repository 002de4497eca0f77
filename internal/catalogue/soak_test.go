package catalogue_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var soakFor = flag.Duration("soak", 20*time.Second, "how long TestSoak loads the program")

const (
	soakers      = 8                // clients at once
	soakPeople   = 24               // sessions that are alive
	soakFault    = 2 * time.Second  // how long something is wrong
	soakWell     = 4 * time.Second  // and how long all is well then, of which
	soakSettle   = 3 * time.Second  // this long may go by until nobody notices any more
	soakPatience = 20 * time.Second // of one request
	soakMemory   = 48               // MiB by which memory may have grown in the end
)

// TestSoak loads the program on Redis at a third of what it can do, with everything that people and strangers do, while
// store, issuer and application fail and recover in turn. While all is well nobody gets a 5xx, and in the end connections,
// goroutines and memory are where they began.
//
//	go test ./internal/catalogue -run TestSoak -soak 15m -v -timeout 30m
func TestSoak(t *testing.T) {
	server := redistest.Start(t)
	s := &soak{t: t, link: redistest.NewProxy(t, server.Addr)}
	s.app = httptest.NewServer(http.HandlerFunc(s.application))
	t.Cleanup(s.app.Close)
	s.front = unsigned(t, gatewaytest.Options{
		TLS: true, Log: "level: info, access: false",
		Routes:  strings.ReplaceAll(strict, "UPSTREAM", `"`+s.app.URL+`"`),
		Extra:   "\nidentity: {headers: [{name: X-Auth-Sub, claim: sub}]}\n",
		Session: fmt.Sprintf("store: redis, secret: %s, redis: {url: %q}", gatewaytest.SessionSecret, "redis://"+s.link.Addr+"/0"),
	})
	s.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.AccessLife = 15 * time.Second
		i.Edit = func(claims map[string]any) {
			sum := sha256.Sum256([]byte(claims["nonce"].(string))) // which a refresh leaves as it is
			claims["sub"] = fmt.Sprintf("soak-%x", sum[:6])
			claims["sid"] = fmt.Sprintf("sid-%s", claims["sub"])
		}
		i.Answer = s.issuerFault
	})
	s.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: soakers,
	}
	s.client = &http.Client{Transport: s.transport, Timeout: soakPatience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

	for range soakPeople {
		cookie, err := s.signIn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.people = append(s.people, cookie)
	}
	capacity := s.load(2*time.Second, 0, s.visit) // and once everything else, so that what is kept for later is there
	for range 20 {
		for _, o := range soakMix {
			o.do(s, t.Context())
		}
	}
	s.transport.CloseIdleConnections()
	s.app.CloseClientConnections()
	before := s.settled(nil)
	s.said = map[string]int{}
	began := time.Now()
	faults := make(chan struct{})
	stop, cancel := context.WithCancel(t.Context())
	go func() { defer close(faults); s.faults(stop) }()
	var memory []int // KiB, on the way
	var done float64
	for range 10 {
		done += s.load(*soakFor/10, capacity/3, s.anything) / 10
		memory = append(memory, residentKB(t, s.Process.PID()))
	}
	cancel()
	<-faults
	took := time.Since(began)
	s.transport.CloseIdleConnections()
	s.app.CloseClientConnections()
	after := s.settled(&before)

	t.Logf("%s at %.0f requests a second, a third of %.0f, %d faults", took.Round(time.Second), done, capacity, s.faulty.Load())
	for _, what := range slices.Sorted(maps.Keys(s.said)) {
		t.Logf("%8d %s", s.said[what], what)
	}
	t.Logf("memory on the way: %d KiB", memory)
	t.Logf("goroutines %d, then %d; files %d, then %d; memory %d KiB, then %d", before.goroutines, after.goroutines, before.files, after.files, before.kb, after.kb)
	flat(t, "while it was loaded", after.kb-before.kb, soakMemory)
	for _, o := range soakMix {
		if s.said[o.name+": well"] == 0 {
			t.Errorf("nothing came of: %s", o.name)
		}
	}
}

// soak is a program under load.
type soak struct {
	*front
	t         *testing.T
	link      *redistest.Proxy
	app       *httptest.Server
	transport *http.Transport
	client    *http.Client
	faulty    atomic.Int64           // faults so far
	appIs     atomic.Pointer[string] // what is wrong with the application; nil: nothing
	issuerIs  atomic.Pointer[string]

	mu      sync.Mutex
	people  []string // session cookies, oldest first
	said    map[string]int
	trouble []time.Time // begin and end of each fault, in turn
}

// soakMix is what is done, and how often in a hundred.
var soakMix = []struct {
	name  string
	share int
	do    func(*soak, context.Context) error
}{
	{"a page", 62, (*soak).visit},
	{"a page for nobody", 10, (*soak).refused},
	{"an upload", 8, (*soak).upload},
	{"a sign-in for one that signs out", 8, (*soak).turnover},
	{"a sign-in for one that Logto signs out", 4, (*soak).logout},
	{"a WebSocket", 4, (*soak).socket},
	{"an event stream", 4, (*soak).events},
}

// anything does one of soakMix.
func (s *soak) anything(ctx context.Context) error {
	n := rand.IntN(100)
	for _, o := range soakMix {
		if n -= o.share; n < 0 {
			began := time.Now()
			err := o.do(s, ctx)
			s.note(o.name, began, err)
			return err
		}
	}
	return nil
}

// note counts how something went. What goes wrong while all is well is a failure.
func (s *soak) note(name string, began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.said[name+": well"]++
		return
	}
	if s.troubled(began, time.Now()) {
		s.said[name+": not well, during a fault"]++
		return
	}
	s.said[name+": not well"]++
	s.t.Errorf("%s, while all was well: %v", name, err)
}

// troubled says whether a fault was on, or on a moment ago, at any time between the two. s.mu is held.
func (s *soak) troubled(from, to time.Time) bool {
	for i := 0; i < len(s.trouble); i += 2 {
		end := to
		if i+1 < len(s.trouble) {
			end = s.trouble[i+1].Add(soakSettle)
		}
		if s.trouble[i].Before(to) && from.Before(end) || s.trouble[i].Before(to) && i+1 == len(s.trouble) {
			return true
		}
	}
	return false
}

// load lets clients do something for a time, at most so often a second; 0: as often as they can. It returns how often
// that was.
func (s *soak) load(d time.Duration, most float64, do func(context.Context) error) float64 {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range soakers {
		all.Go(func() {
			var tick <-chan time.Time
			if most > 0 {
				ticker := time.NewTicker(time.Duration(float64(soakers*time.Second) / most))
				defer ticker.Stop()
				tick = ticker.C
			}
			for ctx.Err() == nil {
				if tick != nil {
					select {
					case <-tick:
					case <-ctx.Done():
						return
					}
				}
				do(s.t.Context()) // whoever has begun is waited for
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// faults lets one thing after the other go wrong, until ctx ends, and leaves all well.
func (s *soak) faults(ctx context.Context) {
	set := func(at *atomic.Pointer[string], what string) (func(), func()) {
		return func() { at.Store(&what) }, func() { at.Store(nil) }
	}
	kinds := []func() (on, off func()){
		func() (func(), func()) { return s.link.Cut, s.link.Heal },
		func() (func(), func()) { return set(&s.appIs, "hangs up") },
		func() (func(), func()) { return s.link.Stall, s.link.Heal },
		func() (func(), func()) { return set(&s.issuerIs, "503") },
		func() (func(), func()) { return func() { s.link.Delay(100 * time.Millisecond) }, s.link.Heal },
		func() (func(), func()) { return set(&s.appIs, "says 500") },
		func() (func(), func()) { return set(&s.issuerIs, "is slow") },
		func() (func(), func()) { return set(&s.appIs, "is slow") },
	}
	pause := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	mark := func() {
		s.mu.Lock()
		s.trouble = append(s.trouble, time.Now())
		s.mu.Unlock()
	}
	for n := 0; ctx.Err() == nil; n++ {
		if pause(soakWell); ctx.Err() != nil {
			return
		}
		on, off := kinds[n%len(kinds)]()
		mark()
		on()
		pause(soakFault)
		off()
		mark()
		s.faulty.Add(1)
	}
}

// settled is what the program holds once it is left alone: not more than before, if that is known.
func (s *soak) settled(before *holding) holding {
	if before != nil {
		s.emptied(s.t, *before)
		return s.holds(s.t)
	}
	var last holding
	gatewaytest.Await(s.t, "the program rests", func() bool {
		now := s.holds(s.t)
		rests := now.goroutines == last.goroutines && now.files == last.files && now.kb == last.kb
		last = now
		return rests
	})
	return last
}

func (s *soak) application(w http.ResponseWriter, r *http.Request) {
	if is := s.appIs.Load(); is != nil {
		switch *is {
		case "hangs up":
			panic(http.ErrAbortHandler)
		case "says 500":
			http.Error(w, "trouble", http.StatusInternalServerError)
			return
		case "is slow":
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				return
			}
		}
	}
	switch r.URL.Path {
	case "/socket":
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gateway looks at Origin
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, text) != nil {
				return
			}
		}
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", n)
			http.NewResponseController(w).Flush()
		}
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "user=%s bytes=%d", r.Header.Get("X-Auth-Sub"), n)
	}
}

func (s *soak) issuerFault(w http.ResponseWriter, r *http.Request) bool {
	is := s.issuerIs.Load()
	switch {
	case is == nil:
	case *is == "503":
		http.Error(w, "trouble", http.StatusServiceUnavailable)
		return true
	case *is == "is slow":
		select {
		case <-time.After(time.Second):
		case <-r.Context().Done():
		}
	}
	return false
}

// asSomebody does something with the session cookie of one of the people. Who was signed out meanwhile proves nothing.
func (s *soak) asSomebody(do func(cookie string) error) error {
	s.mu.Lock()
	cookie := s.people[len(s.people)/4+rand.IntN(len(s.people)-len(s.people)/4)] // the oldest are on their way out
	s.mu.Unlock()
	err := do(cookie)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.people, cookie) {
		return nil
	}
	return err
}

// send makes one request and returns its answer's status and head, and its body.
func (s *soak) send(ctx context.Context, method, target, cookie string, body io.Reader, lines ...string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.URL+target, body)
	if err != nil {
		return nil, "", err
	}
	for _, l := range with(navigation, append(lines, "Cookie", cookie)...) {
		r.Header.Set(l[0], l[1])
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}

// want is the error of an answer that is not the one that is wanted.
func want(resp *http.Response, text string, status int, has string) error {
	if resp.StatusCode != status || !strings.Contains(text, has) {
		return fmt.Errorf("got %s with %.200q, want %d with %q", resp.Status, text, status, has)
	}
	return nil
}

func (s *soak) visit(ctx context.Context) error {
	return s.asSomebody(func(cookie string) error {
		resp, text, err := s.send(ctx, "GET", "/app", cookie, nil)
		if err != nil {
			return err
		}
		return want(resp, text, http.StatusOK, "user=soak-")
	})
}

func (s *soak) refused(ctx context.Context) error {
	resp, text, err := s.send(ctx, "GET", "/app?"+gatewaytest.Canary+"soak", s.Cookie()+"="+strings.Repeat("A", 43), nil)
	if err != nil {
		return err
	}
	return want(resp, text, http.StatusFound, "")
}

func (s *soak) upload(ctx context.Context) error {
	const size = 256 << 10
	return s.asSomebody(func(cookie string) error {
		resp, text, err := s.send(ctx, "POST", "/app", cookie, strings.NewReader(strings.Repeat("x", size)), "Sec-Fetch-Site", "same-origin")
		if err != nil {
			return err
		}
		return want(resp, text, http.StatusOK, fmt.Sprintf("bytes=%d", size))
	})
}

// signIn goes the way of a browser and returns the session cookie.
func (s *soak) signIn(ctx context.Context) (cookie string, err error) {
	resp, text, err := s.send(ctx, "GET", "/app", "", nil)
	if err != nil {
		return "", err
	}
	if err := want(resp, text, http.StatusFound, ""); err != nil {
		return "", err
	}
	var attempt []string
	for _, c := range resp.Cookies() {
		attempt = append(attempt, c.Name+"="+c.Value)
	}
	r, err := http.NewRequestWithContext(ctx, "GET", resp.Header.Get("Location"), nil)
	if err != nil {
		return "", err
	}
	issuer := &http.Client{Transport: http.DefaultTransport, Timeout: soakPatience, CheckRedirect: s.client.CheckRedirect}
	there, err := issuer.Do(r)
	if err != nil {
		return "", err
	}
	io.Copy(io.Discard, there.Body)
	there.Body.Close()
	back, err := url.Parse(there.Header.Get("Location"))
	if err != nil || back.Path != "/callback" {
		return "", fmt.Errorf("the issuer answered %s", there.Status)
	}
	resp, text, err = s.send(ctx, "GET", back.RequestURI(), strings.Join(attempt, "; "), nil)
	if err != nil {
		return "", err
	}
	for _, c := range resp.Cookies() {
		if c.Name == s.Cookie() && c.MaxAge >= 0 {
			return c.Name + "=" + c.Value, want(resp, text, http.StatusSeeOther, "")
		}
	}
	return "", errors.Join(fmt.Errorf("no session: %s", resp.Status), want(resp, text, http.StatusSeeOther, ""))
}

// replaced signs somebody in and returns the oldest of the people, who is one no more.
func (s *soak) replaced(ctx context.Context) (old string, err error) {
	cookie, err := s.signIn(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.people[0]
	s.people = append(s.people[1:len(s.people):len(s.people)], cookie)
	return old, nil
}

func (s *soak) turnover(ctx context.Context) error {
	old, err := s.replaced(ctx)
	if err != nil {
		return err
	}
	resp, text, err := s.send(ctx, "POST", "/sign-out", old, strings.NewReader(""), "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		return err
	}
	return want(resp, text, http.StatusSeeOther, "")
}

func (s *soak) logout(ctx context.Context) error {
	old, err := s.replaced(ctx)
	if err != nil {
		return err
	}
	resp, text, err := s.send(ctx, "GET", "/_portero/session", old, nil)
	if err != nil {
		return err
	}
	_, subject, _ := strings.Cut(text, `"subject":`)
	subject, _, _ = strings.Cut(strings.TrimLeft(subject, ` "`), `"`)
	if err := want(resp, subject, http.StatusOK, "soak-"); err != nil {
		return err
	}
	token := s.Issuer.LogoutToken(func(_, claims map[string]any) { claims["sub"], claims["sid"] = subject, "sid-"+subject })
	resp, text, err = s.send(ctx, "POST", gatewaytest.LogoutPath, "", strings.NewReader(url.Values{"logout_token": {token}}.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		return err
	}
	return want(resp, text, http.StatusOK, "")
}

func (s *soak) socket(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, soakPatience)
	defer cancel()
	return s.asSomebody(func(cookie string) error { return s.echo(ctx, cookie) })
}

func (s *soak) echo(ctx context.Context, cookie string) error {
	c, resp, err := websocket.Dial(ctx, s.URL+"/socket", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: s.transport}, HTTPHeader: http.Header{"Cookie": {cookie}, "Origin": {s.URL}},
	})
	if err != nil {
		if resp != nil {
			return fmt.Errorf("%w: %s", err, resp.Status)
		}
		return err
	}
	defer c.CloseNow()
	for range 3 {
		if err := c.Write(ctx, websocket.MessageText, []byte("echo")); err != nil {
			return err
		}
		if _, text, err := c.Read(ctx); err != nil || string(text) != "echo" {
			return fmt.Errorf("echo %q: %w", text, err)
		}
	}
	return c.Close(websocket.StatusNormalClosure, "")
}

func (s *soak) events(ctx context.Context) error {
	return s.asSomebody(func(cookie string) error {
		resp, text, err := s.send(ctx, "GET", "/events", cookie, nil)
		if err != nil {
			return err
		}
		return want(resp, text, http.StatusOK, "data: 4")
	})
}
