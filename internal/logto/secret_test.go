package logto_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"portero/internal/logto"
)

// hold lets one call to Logto wait until it is let go.
type hold struct {
	begun, release chan struct{}
	next           http.RoundTripper
}

func (h *hold) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && h.begun != nil {
		begun := h.begun
		h.begun = nil
		close(begun)
		<-h.release
	}
	return h.next.RoundTrip(r)
}

// tokenEndpoint is an issuer that knows the client and no code.
func tokenEndpoint(t *testing.T) *issuer {
	t.Helper()
	i, _ := serve(t, newES384("k1").jwk(nil))
	i.set(pathToken, func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != appSecret {
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
			return
		}
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
	})
	return i
}

func TestSecretThatLogtoDoesNotTake(t *testing.T) {
	t.Parallel()
	i := tokenEndpoint(t)
	secret := logto.NewSecret("wrong-canary")
	p := provider(t, i, func(c *logto.Config) { c.Secret = secret })
	err := p.Prove(t.Context())
	if !errors.Is(err, logto.ErrRefused) || strings.Contains(err.Error(), "canary") {
		t.Errorf("a wrong secret: got error %v, want ErrRefused without the secret", err)
	}
	if secret.Taken() || secret.Used("wrong-canary") {
		t.Error("a wrong secret counts as taken")
	}
	down := provider(t, i, func(c *logto.Config) { c.Secret = secret })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := down.Prove(ctx); err == nil || errors.Is(err, logto.ErrRefused) {
		t.Errorf("without an answer: got error %v, want one that is no refusal", err)
	}
}

// A secret counts as used once Logto took it and no call with the one before is under way.
func TestSecretIsReplacedUnderCalls(t *testing.T) {
	t.Parallel()
	i := tokenEndpoint(t)
	secret := logto.NewSecret("the-one-before")
	h := &hold{begun: make(chan struct{}), release: make(chan struct{})}
	begun := h.begun
	old := provider(t, i, func(c *logto.Config) {
		c.Secret = secret
		h.next = c.Client.Transport
		c.Client.Transport = h
	})
	ended := make(chan error)
	go func() { ended <- old.Prove(context.WithoutCancel(t.Context())) }()
	<-begun

	if !secret.Replace(appSecret) || secret.Replace(appSecret) {
		t.Error("replacing a secret does not tell whether it is another one")
	}
	if secret.Taken() {
		t.Error("a new secret counts as taken before any call")
	}
	// Another provider of the same application has it too.
	if err := provider(t, i, func(c *logto.Config) { c.Secret = secret }).Prove(t.Context()); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if !secret.Taken() || secret.Used(appSecret) {
		t.Errorf("with a call of the old secret under way: got taken %v, used %v; want true, false", secret.Taken(), secret.Used(appSecret))
	}
	close(h.release)
	if err := <-ended; !errors.Is(err, logto.ErrRefused) {
		t.Errorf("the call with the old secret: got error %v, want ErrRefused", err)
	}
	if !secret.Used(appSecret) || secret.Used("the-one-before") {
		t.Errorf("afterwards: got used %v, and of the old one %v; want true, false", secret.Used(appSecret), secret.Used("the-one-before"))
	}
	if err := old.Prove(t.Context()); err != nil {
		t.Errorf("a provider from before: %v", err)
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	one := logto.Fingerprint("app", "secret")
	if len(one) != 16 || one != logto.Fingerprint("app", "secret") || one == logto.Fingerprint("app", "secret2") || one == logto.Fingerprint("apps", "ecret") {
		t.Errorf("got %q, want 16 digits that depend on both", one)
	}
}
