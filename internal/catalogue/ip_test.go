package catalogue_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

var issuerFaults = family{ID: "IP", Title: "An issuer that fails or lies", Attacks: []attack{
	{ID: "IP-01", Name: "down at the start", Want: "the program starts and says degraded; sessions work, signing in gives a page with 503 and Retry-After, and all recovers by itself", Test: downAtStart},
	{ID: "IP-02", Name: "down later", Want: "what needs the endpoint that is away fails, and nothing else; metadata and keys that are known serve on for a day", Why: "an SDK that asks for the metadata at every call. The day passes on a gateway inside the test", Test: downLater},
	{ID: "IP-03", Name: "slow", Want: "every answer of the gateway comes within ten seconds and a little, a sign-out within one; goroutines and sockets are as before", Why: "an SDK without any deadline", Test: slowIssuer},
	{ID: "IP-04", Name: "metadata of another issuer", Want: "nobody is sent anywhere: 503", Why: "conformance; an SDK that takes it", Test: otherMetadata},
	{ID: "IP-05", Name: "hostile endpoints in the metadata", Want: "the metadata counts only if all endpoints are on the origin of logto.endpoint", Why: "an SDK that takes javascript:", Test: hostileEndpoints},
	{ID: "IP-06", Name: "redirects", Want: "none is followed, whatever its status and target: no code, verifier, secret or token is sent a second time", Why: "net/http sends the whole form again at 307", Test: redirectingIssuer},
	{ID: "IP-07", Name: "huge and odd answers", Want: "no session; no more than 1 MiB is read", Why: "CVE-2026-26998; an SDK that reads everything", Test: oddAnswers},
	{ID: "IP-08", Name: "variants of the token answer", Want: "no session without an ID token, an access token and the type Bearer; expires_in is read generously, from one second to a day. The life is measured on a gateway inside the test", Why: "an SDK that signs in without an ID token", Test: answerVariants},
	{ID: "IP-09", Name: "TLS", Want: "only a certificate counts that is valid now, for this host and of an authority that is trusted, over TLS 1.2 at least; logto.ca_file names one; nothing switches that off", Test: issuerTLS},
	{ID: "IP-10", Name: "proxies in the environment", Want: "HTTP_PROXY and HTTPS_PROXY are for calls to Logto by its public name, never for applications, logto.internal_endpoint or loopback", Why: "relatives of httpoxy", Test: proxyEnvironment},
	{ID: "IP-11", Name: "answers for another client", Want: "no session; the log and readiness name the setting, without the secret", Test: otherClient},
	{ID: "IP-12", Name: "flapping", Want: "people sign in while it is up; no code is redeemed twice and no fetch is repeated without end; goroutines are as before", Why: "clients that make an outage worse. Eight people at once for ten seconds stand for 500 sign-ins a second", Test: flapping},
}}

// readiness is what /readyz says: the state of all, and what is said of Logto.
func (f *front) readiness(t *testing.T) (state, logto string) {
	t.Helper()
	resp := f.Admin(t, http.MethodGet, "/readyz?verbose")
	var body struct {
		Status string
		Checks []struct{ Name, State, Detail string }
	}
	if err := json.Unmarshal([]byte(resp.Text), &body); err != nil {
		t.Fatalf("readyz: %v\n%s", err, resp.Text)
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("readyz: got %s, want 200", resp.Status)
	}
	for _, c := range body.Checks {
		if c.Name == "logto" {
			logto = c.State + " " + c.Detail
		}
	}
	return body.Status, logto
}

// unavailable fails unless an answer is the page that says that nobody can sign in now.
func (f *front) unavailable(t *testing.T, what string, a *gatewaytest.Answer) {
	t.Helper()
	if a.Status != http.StatusServiceUnavailable || !strings.Contains(a.Body, "<title>"+headUnavailable) || a.Header.Get("Retry-After") != "30" ||
		a.Header.Get("Portero-Code") == "" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Location") != "" {
		t.Errorf("%s: got %s, Retry-After %q, want 503, 30, a support code and %q", what, a, a.Header.Get("Retry-After"), headUnavailable)
	}
	f.nothingReached(t)
	f.noSession(t, a)
}

// works fails unless Alice's session and a public page are served.
func (f *front) works(t *testing.T, what string) {
	t.Helper()
	for target, cookie := range map[string]string{"/app": f.alice, "/public/x": ""} {
		if a := (way{front: f, cookie: cookie}).ask(t, request{Target: target, Lines: navigation}); a.Status != http.StatusOK {
			t.Errorf("%s: %s: got %s, want 200", what, target, a)
		}
	}
	f.Upstream.Forget()
}

// signsIn fails unless somebody can sign in who was never here before; it returns them.
func (f *front) signsIn(t *testing.T, what string) *traveller {
	t.Helper()
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = maps.Clone(alice)
		i.Person["sub"], i.Person["sid"] = rand.Text(), rand.Text()
	})
	p := way{front: f}.traveller(t)
	if a := p.get(t, p.leave(t, "/app")); a.Status != http.StatusSeeOther || p.session() == "" {
		t.Errorf("%s: signing in: got %s, want 303 and a session", what, a)
	}
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
	return p
}

// at answers requests for a path.
func at(path string, answer http.HandlerFunc) func(*gatewaytest.Issuer) {
	return func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				answer(w, r)
			}
			return r.URL.Path == path
		}
	}
}

// Paths of the issuer.
const (
	pathMetadata = "/oidc/.well-known/openid-configuration"
	pathKeys     = "/oidc/jwks"
	pathToken    = "/oidc/token"
	pathUserinfo = "/oidc/me"
	pathRevoke   = "/oidc/token/revocation"
)

func downAtStart(t *testing.T, _ *doors) {
	issuer := gatewaytest.NewIssuer(t)
	proxy := redistest.NewProxy(t, strings.TrimPrefix(issuer.URL, "http://"))
	issuer.Do(func(i *gatewaytest.Issuer) { i.URL = "http://" + proxy.Addr })
	f := newFront(t, gatewaytest.Options{TLS: true, Issuer: issuer, Session: "store: file, secret: " + gatewaytest.SessionSecret})
	proxy.Cut()
	f.Restart(t)
	for _, h2 := range []bool{false, true} {
		w := way{front: f, h2: h2}
		for _, target := range []string{"/app", "/sign-in?return_to=/app", "/_portero/sign-in?fresh=1"} {
			f.unavailable(t, target, w.ask(t, request{Target: target, Lines: navigation}))
		}
		if a := w.ask(t, request{Target: "/optional", Lines: navigation}); a.Status != http.StatusOK {
			t.Errorf("/optional: got %s, want 200", a)
		}
		if a := w.ask(t, request{Lines: fieldsOf("Accept", "application/json")}); a.Status != http.StatusUnauthorized {
			t.Errorf("a script: got %s, want 401", a)
		}
		f.Upstream.Forget()
	}
	gatewaytest.Await(t, "readiness says degraded", func() bool {
		state, logto := f.readiness(t)
		return state == "degraded" && strings.Contains(logto, "discovery: unreachable")
	})
	f.works(t, "while it is down")
	f.rows(t, 1)
	proxy.Heal()
	gatewaytest.Await(t, "people can sign in", func() bool {
		return way{front: f}.traveller(t).get(t, "/app").Status == http.StatusFound
	})
	f.signsIn(t, "afterwards")
	if state, logto := f.readiness(t); state != "ok" {
		t.Errorf("readiness afterwards: got %s (%s), want ok", state, logto)
	}
	f.works(t, "afterwards")
}

func downLater(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true})
	for name, fault := range map[string]http.HandlerFunc{
		"503":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"429":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for _, down := range []string{pathMetadata, pathKeys, pathToken, pathUserinfo, pathRevoke} {
			what := down + " " + name
			leaver := f.signsIn(t, what)
			f.issuer(t, at(down, fault))
			f.works(t, what)
			p := way{front: f}.traveller(t)
			a := p.get(t, p.leave(t, "/app"))
			switch down {
			case pathToken, pathUserinfo:
				f.unavailable(t, what, a)
			default:
				if a.Status != http.StatusSeeOther || p.session() == "" {
					t.Errorf("%s: signing in: got %s, want 303", what, a)
				}
			}
			// Signing out ends the session in any case; where the answer is missing the browser stays here.
			a = leaver.post(t, "/sign-out", url.Values{"return_to": {"/app"}})
			here := strings.HasPrefix(a.Header.Get("Location"), "/_portero/signed-out?")
			if a.Status != http.StatusSeeOther || leaver.session() != "" || here != (down == pathRevoke) || !here && !strings.HasPrefix(a.Header.Get("Location"), f.Issuer.URL+"/oidc/session/end?") {
				t.Errorf("%s: signing out: got %s to %q", what, a, a.Header.Get("Location"))
			}
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
			f.signsIn(t, what+", and back")
			f.Upstream.Forget()
		}
	}

	// Without an end-session endpoint people sign out here.
	g := forgetful(t)
	g.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditDiscovery = func(doc map[string]any) {
			for _, name := range []string{"end_session_endpoint", "revocation_endpoint"} {
				delete(doc, name)
			}
		}
	})
	g.Hangup(t)
	p := g.signsIn(t, "without an end-session endpoint")
	if a := p.post(t, "/sign-out", nil); a.Status != http.StatusSeeOther || !strings.HasPrefix(a.Header.Get("Location"), "/_portero/signed-out?") || p.session() != "" {
		t.Errorf("signing out without an end-session endpoint: got %s to %q", a, a.Header.Get("Location"))
	}

	// How long what is known serves on.
	h := newFront(t, gatewaytest.Options{Clock: gatewaytest.NewClock(), Session: "store: memory, idle_timeout: 0s"})
	fault := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	h.issuer(t, at(pathKeys, fault))
	h.Clock.Add(23 * time.Hour)
	h.signsIn(t, "keys that are 23 hours old")
	h.Clock.Add(time.Hour)
	p = way{front: h}.traveller(t)
	h.unavailable(t, "keys that are a day old", p.get(t, p.leave(t, "/app")))
	h.issuer(t, at(pathMetadata, fault))
	h.Clock.Add(10 * time.Second)
	h.unavailable(t, "metadata that nobody gives any more", way{front: h}.traveller(t).get(t, "/app"))
	h.works(t, "metadata that nobody gives any more")
}

func otherMetadata(t *testing.T, _ *doors) {
	f := forgetful(t)
	iss := f.Issuer.URL + "/oidc"
	for _, issuer := range []any{
		iss + "INVALID", iss + "/", f.Issuer.URL, f.Issuer.URL + "/", strings.Replace(iss, "http:", "https:", 1), strings.Replace(iss, "http:", "HTTP:", 1), strings.ToUpper(iss), iss + "?", iss + "#",
		strings.Replace(iss, "127.0.0.1", "localhost", 1), "https://evil.example/oidc", "", null, nil, 5, []string{iss}, map[string]any{},
	} {
		what := fmt.Sprintf("issuer %v", issuer)
		f.metadata(t, map[string]any{"issuer": issuer})
		f.refusesMetadata(t, what)
	}
	f.works(t, "after all that")
	f.metadata(t, nil)
	f.signsIn(t, "with our own")
}

// metadata has the issuer publish metadata with members changed, nil removing one, and the program forget what it knew.
func (f *front) metadata(t *testing.T, change map[string]any) {
	t.Helper()
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditDiscovery = func(doc map[string]any) { amended(doc, change) }
	})
	if said := f.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Fatalf("SIGHUP: the program says %s", said)
	}
}

// refusesMetadata fails unless nobody is sent to where the metadata says.
func (f *front) refusesMetadata(t *testing.T, what string) {
	t.Helper()
	before := f.Issuer.Calls(pathMetadata)
	f.unavailable(t, what, way{front: f, h2: true}.ask(t, request{Lines: navigation}))
	if got := f.Issuer.Calls(pathMetadata) - before; got > 1 {
		t.Errorf("%s: the metadata was fetched %d times, want once", what, got)
	}
	if _, logto := f.readiness(t); !strings.HasPrefix(logto, "degraded discovery: malformed") {
		t.Errorf("%s: readiness says %q of Logto, want malformed metadata", what, logto)
	}
}

func hostileEndpoints(t *testing.T, _ *doors) {
	thief := newThief(t, http.StatusOK)
	f := forgetful(t)
	_, address, _ := strings.Cut(f.Issuer.URL, "://")
	required := []string{"authorization_endpoint", "token_endpoint", "jwks_uri"}
	names := append([]string{"userinfo_endpoint", "end_session_endpoint", "revocation_endpoint"}, required...)
	values := []any{
		"javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "https://" + address + "/x", "ws://" + address + "/x", "https://evil.example/oidc/x",
		thief.URL + "/x", "http://" + address + ".evil.example/x", "http://" + address + "@evil.example/x", "http://user:pass@" + address + "/x", "http://" + address + "/x#fragment", "http://" + address + "/x#",
		"//" + address + "/x", "/oidc/x", "http:" + address + "/x", "http:///x", "http://" + address + "/\r\nX-Evil: 1", "http://" + address + "/ x", `http://` + address + `\@evil.example/x`,
		"http://" + address + "/" + strings.Repeat("x", 4096), "http://localhost/x", "http://127.0.0.1/x", "http://[::1/x", "http://127.0.0.1:port/x", 5, []string{f.Issuer.URL + "/oidc/x"},
	}
	for n, value := range values {
		for k, name := range names {
			if k%3 == n%3 {
				f.metadata(t, map[string]any{name: value})
				f.refusesMetadata(t, fmt.Sprintf("%s %.60v", name, value))
			}
		}
	}
	for _, name := range required {
		for _, value := range []any{nil, null, ""} {
			f.metadata(t, map[string]any{name: value})
			f.refusesMetadata(t, fmt.Sprintf("%s %v", name, value))
		}
	}
	thief.unseen(t)

	// On the origin everything may be where it likes.
	f.metadata(t, map[string]any{"token_endpoint": strings.Replace(f.Issuer.URL, "http", "HTTP", 1) + pathToken + "?a=b", "jwks_uri": f.Issuer.URL + "/oidc/keys-of-today"})
	f.issuer(t, at("/oidc/keys-of-today", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{f.Issuer.Key.JWK(nil)}})
	}))
	f.signsIn(t, "other paths of the origin")
}

// thief is a server that nobody may call.
type thief struct {
	*httptest.Server
	calls atomic.Int32
}

func newThief(t *testing.T, status int) *thief {
	t.Helper()
	x := &thief{}
	x.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		x.calls.Add(1)
		w.WriteHeader(status)
	}))
	t.Cleanup(x.Close)
	return x
}

// unseen fails when somebody came by.
func (x *thief) unseen(t *testing.T) {
	t.Helper()
	if got := x.calls.Swap(0); got != 0 {
		t.Errorf("requests at an address that is not the issuer's: got %d, want none", got)
	}
}

func redirectingIssuer(t *testing.T, _ *doors) {
	thief := newThief(t, http.StatusOK)
	f := forgetful(t)
	for i, status := range []int{300, 301, 302, 303, 305, 307, 308} {
		for j, target := range []string{thief.URL + "/" + gatewaytest.Canary, "/oidc/elsewhere?" + gatewaytest.Canary, "//" + strings.TrimPrefix(thief.URL, "http://"), ""} {
			for k, path := range []string{pathToken, pathMetadata, pathKeys, pathUserinfo, pathRevoke} {
				if k > 0 && (i+j)%4 != k-1 {
					continue // the others take turns
				}
				what := fmt.Sprintf("%s: %d to %s", path, status, target)
				f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
				f.Hangup(t)
				leaver := way{front: f}.traveller(t)
				if path == pathRevoke {
					leaver = f.signsIn(t, what)
				}
				f.issuer(t, at(path, func(w http.ResponseWriter, _ *http.Request) {
					if target != "" {
						w.Header().Set("Location", target)
					}
					w.WriteHeader(status)
				}))
				p := way{front: f}.traveller(t)
				switch path {
				case pathMetadata:
					f.unavailable(t, what, p.get(t, "/app"))
				case pathKeys:
					f.unavailable(t, what, p.get(t, p.leave(t, "/app")))
				case pathToken, pathUserinfo:
					a := p.get(t, p.leave(t, "/app"))
					if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<title>"+headFailed) {
						t.Errorf("%s: got %s, want 400 with %q", what, a, headFailed)
					}
					f.noSession(t, a)
				case pathRevoke:
					if a := leaver.post(t, "/sign-out", nil); a.Status != http.StatusSeeOther || leaver.session() != "" {
						t.Errorf("%s: signing out: got %s, want 303", what, a)
					}
				}
			}
		}
	}
	thief.unseen(t)
	if got := f.Issuer.Calls("/oidc/elsewhere"); got != 0 {
		t.Errorf("requests at the target on the issuer's origin: got %d, want none", got)
	}
	f.nothingReached(t)
	f.works(t, "after all that")
}

func otherClient(t *testing.T, _ *doors) {
	f := newFront(t, gatewaytest.Options{TLS: true})
	f.issuer(t, func(*gatewaytest.Issuer) {})
	secret := f.Issuer.AppSecret
	f.Secret(secret, "app_secret")
	for name, change := range map[string]func(*gatewaytest.Issuer){
		"another secret": func(i *gatewaytest.Issuer) { i.AppSecret = "another-secret-than-the-gateway-has" },
		"another client": func(i *gatewaytest.Issuer) { i.AppID = "app-2" },
		"an error that repeats the secret": at(pathToken, func(w http.ResponseWriter, r *http.Request) {
			_, sent, _ := r.BasicAuth()
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q,"error_uri":%q}`, sent, r.PostForm.Encode())
		}),
	} {
		p := way{front: f}.traveller(t)
		back := p.leave(t, "/app")
		from := len(f.Log.String())
		f.Issuer.Do(change)
		a := p.get(t, back)
		shows(t, a, http.StatusBadRequest, headFailed)
		f.noSession(t, a)
		f.nothingReached(t)
		gatewaytest.Await(t, "the log names the setting", func() bool {
			said := f.Log.String()[from:]
			return strings.Contains(said, "invalid_client") && strings.Contains(said, "logto.app_id") && strings.Contains(said, "logto.app_secret")
		})
		if state, logto := f.readiness(t); state != "degraded" || !strings.HasPrefix(logto, "degraded token: invalid_client") {
			t.Errorf("%s: readiness: got %s, %q, want degraded by invalid_client", name, state, logto)
		}
		f.works(t, name)
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AppID, i.AppSecret, i.Answer = "app-1", secret, nil })
		f.signsIn(t, name+", mended")
		if state, logto := f.readiness(t); state != "ok" {
			t.Errorf("%s, mended: readiness: got %s, %q, want ok", name, state, logto)
		}
	}
}
