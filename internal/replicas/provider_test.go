package replicas_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// Headers by which a client tells the issuer who is in front of it.
const (
	headerSubject = "Test-Subject"
	headerSID     = "Test-Sid"
)

// provider is an issuer for many people, which each replica reaches at an address of its own, so that it is known who
// calls.
type provider struct {
	*gatewaytest.Issuer
	Internal []string // :: replica → where it reaches the issuer

	mu      sync.Mutex
	people  map[string]person // :: nonce → who signed in with it
	codes   map[string]string // :: code → nonce
	refresh map[string]string // :: refresh token → nonce
	calls   []*tokenCall      // in the order they came
	slow    time.Duration
}

type person struct{ subject, sid string }

// tokenCall is one call of the token endpoint.
type tokenCall struct {
	Replica    int
	Grant      string
	Presented  string // the code or refresh token
	Nonce      string // of the sign-in that it belongs to
	Begin, End time.Time
	Status     int // 0: the caller left before it was worked off
}

func newProvider(t testing.TB, replicas int, o options) *provider {
	p := &provider{
		Issuer: gatewaytest.NewIssuer(t),
		people: map[string]person{}, codes: map[string]string{}, refresh: map[string]string{},
	}
	listen := func(replica int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, replica) }))
		t.Cleanup(s.Close)
		return s.URL
	}
	front := listen(-1)
	for i := range replicas {
		p.Internal = append(p.Internal, listen(i))
	}
	p.Do(func(i *gatewaytest.Issuer) {
		i.URL, i.AccessLife, i.Rotating = front, o.AccessLife, o.Rotating
		i.Edit = func(claims map[string]any) {
			nonce, _ := claims["nonce"].(string)
			p.mu.Lock()
			defer p.mu.Unlock()
			if who, ok := p.people[nonce]; ok {
				claims["sub"], claims["sid"], claims["email"] = who.subject, who.sid, who.subject+"@example.com"
			}
		}
	})
	return p
}

// Slow makes every token call last longer by d.
func (p *provider) Slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = d
}

// TokenCalls are the token calls so far with that grant, as they are now.
func (p *provider) TokenCalls(grant string) []tokenCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []tokenCall
	for _, c := range p.calls {
		if c.Grant == grant {
			out = append(out, *c)
		}
	}
	return out
}

// Presented counts how often each code or refresh token came. // :: token → times
func (p *provider) Presented(grant string) map[string]int {
	times := map[string]int{}
	for _, c := range p.TokenCalls(grant) {
		times[c.Presented]++
	}
	return times
}

// Logout is a logout token for a sid, a subject, or both.
func (p *provider) Logout(sid, subject string) string {
	return p.LogoutToken(func(_, claims map[string]any) {
		for name, value := range map[string]string{"sid": sid, "sub": subject} {
			if claims[name] = value; value == "" {
				delete(claims, name)
			}
		}
	})
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request, replica int) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "form", http.StatusBadRequest)
		return
	}
	switch r.URL.Path {
	case "/oidc/auth":
		p.authorize(w, r)
	case "/oidc/token":
		p.token(w, r, replica)
	default:
		p.ServeHTTP(w, r)
	}
}

// authorize notes who signs in.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	nonce := r.Form.Get("nonce")
	p.mu.Lock()
	p.people[nonce] = person{r.Header.Get(headerSubject), r.Header.Get(headerSID)}
	p.mu.Unlock()
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	if u, err := url.Parse(rec.Header().Get("Location")); err == nil {
		p.mu.Lock()
		p.codes[u.Query().Get("code")] = nonce
		p.mu.Unlock()
	}
	pass(w, rec)
}

// token notes a token call. Half of what makes it slow comes before it is worked off, half after.
func (p *provider) token(w http.ResponseWriter, r *http.Request, replica int) {
	c := &tokenCall{Replica: replica, Grant: r.Form.Get("grant_type"), Presented: r.Form.Get("code"), Begin: time.Now()}
	p.mu.Lock()
	c.Nonce = p.codes[c.Presented]
	if c.Grant == "refresh_token" {
		c.Presented = r.Form.Get("refresh_token")
		c.Nonce = p.refresh[c.Presented]
	}
	p.calls = append(p.calls, c)
	half := p.slow / 2
	p.mu.Unlock()
	status := 0
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		c.End, c.Status = time.Now(), status
	}()
	if !waited(r, half) {
		return
	}
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, r)
	status = rec.Code
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if json.Unmarshal(rec.Body.Bytes(), &answer) == nil && answer.RefreshToken != "" {
		p.mu.Lock()
		p.refresh[answer.RefreshToken] = c.Nonce
		p.mu.Unlock()
	}
	waited(r, half)
	pass(w, rec)
}

// waited lets d pass; false: the caller has left.
func waited(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return r.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func pass(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	w.Write(slices.Clone(rec.Body.Bytes()))
}
