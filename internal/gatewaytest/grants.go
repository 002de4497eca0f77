package gatewaytest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"
)

// reuseWindow is how long Logto takes a refresh token that it has rotated.
const reuseWindow = 3 * time.Second

// Grants makes an Issuer treat refresh tokens as Logto does: all of them belong to the one grant of a browser; one that
// was rotated is taken for three seconds more, and later it kills the grant, as revoking any of them does.
type Grants struct {
	// Keep leaves tokens as they are at a refresh, which Logto does for most of their life.
	Keep bool
	// Deliver is asked once a refresh is worked off, before its answer is sent; false: the answer is lost on its way. It
	// may take its time. nil: all are sent.
	Deliver func(presented string) bool

	issuer *Issuer

	mu        sync.Mutex
	tokens    map[string]*refreshToken // :: token → what became of it; those of sign-ins come when they are first used
	presented []string
	killed    bool
}

type refreshToken struct {
	root  string // what the Issuer knows it as
	spent time.Time
}

// NewGrants takes over the refreshes and revocations of an issuer. Its fields are set before the first of them.
func NewGrants(i *Issuer) *Grants {
	g := &Grants{issuer: i, tokens: map[string]*refreshToken{}}
	i.Do(func(i *Issuer) { i.Answer = g.Answer })
	return g
}

// Presented are the refresh tokens that were used, in the order they came.
func (g *Grants) Presented() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.presented)
}

// Killed reports whether the grant is dead.
func (g *Grants) Killed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.killed
}

type insideGrants struct{}

// Answer is the Issuer's field of that name.
func (g *Grants) Answer(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/oidc/token/revocation" {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.killed = true
		return false
	}
	if r.URL.Path != "/oidc/token" || r.PostForm.Get("grant_type") != "refresh_token" || r.Context().Value(insideGrants{}) != nil {
		return false
	}
	presented := r.PostForm.Get("refresh_token")
	root, next := g.use(presented)
	if root == "" {
		Refuse(w, http.StatusBadRequest, "invalid_grant")
		return true
	}
	inner := r.Clone(context.WithValue(r.Context(), insideGrants{}, true))
	inner.PostForm.Set("refresh_token", root)
	inner.Form.Set("refresh_token", root)
	rec := httptest.NewRecorder()
	g.issuer.ServeHTTP(rec, inner)
	var answer map[string]any
	if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &answer) != nil {
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
		return true
	}
	if _, has := answer["refresh_token"]; has {
		answer["refresh_token"] = next
	}
	if g.Deliver != nil && !g.Deliver(presented) {
		panic(http.ErrAbortHandler)
	}
	reply(w, answer)
	return true
}

// use notes a use of a token, and returns what the Issuer knows it as and the token that follows it. "": it is worth
// nothing.
func (g *Grants) use(token string) (root, next string) {
	now := g.issuer.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.presented = append(g.presented, token)
	t := g.tokens[token]
	if t == nil {
		t = &refreshToken{root: token}
		g.tokens[token] = t
	}
	if !t.spent.IsZero() && now.Sub(t.spent) > reuseWindow {
		g.killed = true
	}
	if g.killed {
		return "", ""
	}
	if g.Keep {
		return t.root, token
	}
	if t.spent.IsZero() {
		t.spent = now
	}
	next = random()
	g.tokens[next] = &refreshToken{root: t.root}
	return t.root, next
}
