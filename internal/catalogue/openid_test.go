package catalogue_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// TestOpenID is what the OpenID Foundation's conformance suite tries with relying parties, as far as it applies to one
// that uses the code flow and no registration: each module under its name, in the plan it belongs to. What a module
// sends, and what has to follow, is the suite's.
func TestOpenID(t *testing.T) {
	t.Parallel()
	for _, plan := range []struct {
		name    string
		modules map[string]func(*conformance, *testing.T)
	}{
		{"basic", map[string]func(*conformance, *testing.T){
			"oidcc-client-test":                          (*conformance).base,
			"oidcc-client-test-client-secret-basic":      (*conformance).clientSecretBasic,
			"oidcc-client-test-idtoken-sig-none":         (*conformance).signatureNone,
			"oidcc-client-test-idtoken-sig-rs256":        accepts(idToken{}, "RS256"),
			"oidcc-client-test-invalid-aud":              rejects("aud", func(c map[string]any) { c["aud"] = c["aud"].(string) + "1" }),
			"oidcc-client-test-invalid-sig-rs256":        (*conformance).invalidSignature,
			"oidcc-client-test-invalid-iss":              rejects("iss", func(c map[string]any) { c["iss"] = c["iss"].(string) + "1" }),
			"oidcc-client-test-userinfo-invalid-sub":     (*conformance).userinfoInvalidSub,
			"oidcc-client-test-kid-absent-single-jwks":   (*conformance).kidAbsentSingle,
			"oidcc-client-test-kid-absent-multiple-jwks": (*conformance).kidAbsentMultiple,
			"oidcc-client-test-missing-iat":              rejects("iat", func(c map[string]any) { delete(c, "iat") }),
			"oidcc-client-test-missing-sub":              rejects("sub", func(c map[string]any) { delete(c, "sub") }),
			"oidcc-client-test-nonce-invalid":            rejects("nonce", func(c map[string]any) { c["nonce"] = c["nonce"].(string) + "1" }),
			"oidcc-client-test-userinfo-bearer-header":   (*conformance).userinfoBearerHeader,
		}},
		{"config", map[string]func(*conformance, *testing.T){
			"oidcc-client-test-discovery-openid-config":                  (*conformance).base,
			"oidcc-client-test-discovery-jwks-uri-keys":                  (*conformance).randomKeysURI,
			"oidcc-client-test-discovery-issuer-mismatch":                (*conformance).issuerMismatch,
			"oidcc-client-test-idtoken-sig-none":                         (*conformance).signatureNone,
			"oidcc-client-test-signing-key-rotation":                     (*conformance).keyRotation,
			"oidcc-client-test-signing-key-rotation-just-before-signing": (*conformance).keyRotationJustBefore,
		}},
		{"refresh", map[string]func(*conformance, *testing.T){
			"oidcc-client-test-refresh-token":                (*conformance).refresh,
			"oidcc-client-test-refresh-token-invalid-issuer": refreshRejects("iss"),
			"oidcc-client-test-refresh-token-invalid-sub":    refreshRejects("sub"),
		}},
		{"back-channel logout", map[string]func(*conformance, *testing.T){
			backchannel:               logoutToken(http.StatusOK, nil),
			backchannel + "-alg-none": (*conformance).logoutAlgNone,
			backchannel + "-no-event": logoutToken(http.StatusBadRequest, func(_, c map[string]any) { delete(c, "events") }),
			backchannel + "-wrong-event": logoutToken(http.StatusBadRequest, func(_, c map[string]any) {
				c["events"] = map[string]any{"http://schemas.openid.net/event/foobar": map[string]any{}}
			}),
			backchannel + "-with-nonce": logoutToken(http.StatusBadRequest, func(_, c map[string]any) { c["nonce"] = "logout_tokens_must_not_contain_a_nonce" }),
			backchannel + "-wrong-alg":  (*conformance).logoutWrongAlg,
			backchannel + "-wrong-aud":  logoutToken(http.StatusBadRequest, func(_, c map[string]any) { c["aud"] = c["aud"].(string) + "INVALID" }),
			backchannel + "-wrong-iss":  logoutToken(http.StatusBadRequest, func(_, c map[string]any) { c["iss"] = c["iss"].(string) + "INVALID" }),
		}},
		{"RP-initiated logout", map[string]func(*conformance, *testing.T){
			"oidcc-client-test-rp-init-logout":             endSession(nil),
			"oidcc-client-test-rp-init-logout-other-state": endSession(func(q url.Values) { q.Set("state", q.Get("state")+"_INVALID") }),
			"oidcc-client-test-rp-init-logout-no-state":    endSession(func(q url.Values) { q.Del("state") }),
		}},
	} {
		t.Run(plan.name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, gatewaytest.Options{TLS: true, Env: []string{"PORTERO_LOGTO_CA_FILE=" + gatewaytest.NewAuthority(t).File}})
			for _, name := range slices.Sorted(maps.Keys(plan.modules)) {
				t.Run(name, func(t *testing.T) {
					f.issuer(t, func(i *gatewaytest.Issuer) { i.Key = gatewaytest.NewKey("ES384") })
					c := &conformance{front: f, way: way{front: f}}
					c.forget(t)
					plan.modules[name](c, t)
				})
			}
		})
	}
}

const backchannel = "oidcc-client-test-rp-backchannel-rpinitlogout"

// conformance is one run of a module: a relying party that knows nothing of the issuer yet, and somebody who signs in.
type conformance struct {
	*front
	way way
}

// forget makes the relying party ask for metadata and keys again.
func (c *conformance) forget(t *testing.T) {
	t.Helper()
	if said := c.Hangup(t); !strings.Contains(said, "configuration reloaded") {
		t.Fatalf("SIGHUP: the program says %s", said)
	}
}

// calls are the requests at the issuer so far, in the order a module looks at them.
func (c *conformance) calls() map[string]int {
	out := map[string]int{}
	for _, path := range []string{pathMetadata, pathKeys, pathToken, pathUserinfo} {
		out[path] = c.Issuer.Calls(path)
	}
	return out
}

// called fails unless the issuer was asked so often since before.
func (c *conformance) called(t *testing.T, before map[string]int, path string, want int) {
	t.Helper()
	if got := c.Issuer.Calls(path) - before[path]; got != want {
		t.Errorf("requests for %s: got %d, want %d", path, got, want)
	}
}

// signIn signs somebody in and fails unless the application then sees them.
func (c *conformance) signIn(t *testing.T) *traveller {
	t.Helper()
	p := c.way.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/sign-in?fresh=1&return_to=/app")), "/app")
	c.Upstream.Forget()
	if a := p.get(t, "/app"); a.Status != http.StatusOK {
		t.Fatalf("the page after signing in: got %s, want 200", a)
	}
	head, _ := c.reached(t)
	saysAlice(t, head)
	return p
}

// accepts is a module whose ID token is good.
func accepts(token idToken, algorithm string) func(*conformance, *testing.T) {
	return func(c *conformance, t *testing.T) {
		c.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Key = gatewaytest.NewKey(algorithm)
			i.EditDiscovery = func(doc map[string]any) { doc["id_token_signing_alg_values_supported"] = []string{algorithm} }
		})
		c.forget(t)
		before := c.calls()
		token.name = algorithm
		c.way.signInWith(t, token)
		c.called(t, before, pathUserinfo, 1)
	}
}

// rejects is a module whose ID token has claims that must be found wrong: nothing follows the token call.
func rejects(check string, change func(claims map[string]any)) func(*conformance, *testing.T) {
	return func(c *conformance, t *testing.T) {
		before := c.calls()
		c.way.signInWith(t, idToken{name: check, fails: ": " + check + ": ", make: func(i *gatewaytest.Issuer, header, claims map[string]any) string {
			change(claims)
			return i.Key.Token(header, claims)
		}})
		c.called(t, before, pathToken, 1)
		c.called(t, before, pathUserinfo, 0)
	}
}

func (c *conformance) base(t *testing.T) {
	before, asked := c.calls(), len(c.Issuer.Requests())
	c.signIn(t)
	for path, want := range map[string]int{pathMetadata: 1, pathKeys: 1, pathToken: 1, pathUserinfo: 1} {
		c.called(t, before, path, want)
	}
	q := c.Issuer.Requests()[asked]
	for name, want := range map[string]string{"response_type": "code", "client_id": c.Issuer.AppID, "redirect_uri": c.URL + "/callback"} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if !slices.Contains(strings.Fields(q.Get("scope")), "openid") {
		t.Errorf("scope: got %q, want openid in it", q.Get("scope"))
	}
	const most = 43 // as many as the suite makes itself; and only characters that URLs have
	if nonce := q.Get("nonce"); nonce == "" || len(nonce) > most || url.QueryEscape(nonce) != nonce {
		t.Errorf("nonce: got %d characters, want 1 to %d that need no escape", len(nonce), most)
	}
	if q.Get("state") == "" || q.Has("request") || q.Has("request_uri") {
		t.Errorf("got a request without state, or with a request object")
	}
}

func (c *conformance) clientSecretBasic(t *testing.T) {
	c.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != pathToken {
				return false
			}
			if id, secret, ok := r.BasicAuth(); !ok || id != i.AppID || secret != i.AppSecret {
				t.Error("the token call does not authenticate with client_secret_basic")
			}
			for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
				if r.Form.Has(name) {
					t.Errorf("the token call has %s, which is another method", name)
				}
			}
			if got := r.PostForm["client_id"]; len(got) > 1 || len(got) == 1 && got[0] != i.AppID {
				t.Errorf("client_id of the token call: got %q, want ours or none", got)
			}
			return false
		}
	})
	c.signIn(t)
}

// signatureNone is rejected, as those may who do not ask for it.
func (c *conformance) signatureNone(t *testing.T) {
	before := c.calls()
	c.way.signInWith(t, idToken{name: "none", fails: "shape", make: func(_ *gatewaytest.Issuer, _, claims map[string]any) string {
		return gatewaytest.Unsigned(map[string]any{"alg": "none"}, claims) + "."
	}})
	c.called(t, before, pathUserinfo, 0)
}

func (c *conformance) invalidSignature(t *testing.T) {
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Key = gatewaytest.NewKey("RS256") })
	c.forget(t)
	before := c.calls()
	other := gatewaytest.NewKey("RS256")
	c.way.signInWith(t, idToken{name: "invalid", fails: "signature", make: func(_ *gatewaytest.Issuer, header, claims map[string]any) string {
		return other.Token(header, claims)
	}})
	c.called(t, before, pathUserinfo, 0)
}

func (c *conformance) userinfoInvalidSub(t *testing.T) {
	c.Issuer.Do(at(pathUserinfo, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"sub": alice["sub"].(string) + "invalid", "custom_data": map[string]any{"tenant": "evil"}})
	}))
	before := c.calls()
	p := c.way.traveller(t)
	a := p.get(t, p.leave(t, "/app"))
	shows(t, a, http.StatusBadRequest, headFailed)
	c.noSession(t, a)
	c.nothingReached(t)
	c.called(t, before, pathUserinfo, 1)
}

func (c *conformance) kidAbsentSingle(t *testing.T) {
	key := gatewaytest.NewKey("RS256")
	none := map[string]any{"kid": nil}
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Key, i.Keys = key, []any{key.JWK(none)} })
	c.forget(t)
	c.way.signInWith(t, idToken{name: "no kid", header: none})
}

// kidAbsentMultiple is rejected, as those may who do not try one key after the other.
func (c *conformance) kidAbsentMultiple(t *testing.T) {
	none := map[string]any{"kid": nil, "alg": nil}
	key := gatewaytest.NewKey("RS256")
	keys := []any{key.JWK(none), map[string]any{"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}
	for _, algorithm := range []string{"RS256", "RS256", "ES256", "ES256", "ES256"} {
		keys = append(keys, gatewaytest.NewKey(algorithm).JWK(none))
	}
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Key, i.Keys = key, keys })
	c.forget(t)
	before := c.calls()
	c.way.signInWith(t, idToken{name: "no kid", header: map[string]any{"kid": nil}, fails: "kid"})
	c.called(t, before, pathUserinfo, 0)
}

func (c *conformance) userinfoBearerHeader(t *testing.T) {
	asked := 0
	c.Issuer.Do(func(i *gatewaytest.Issuer) {
		var access string
		i.EditAnswer = func(answer map[string]any) { access = answer["access_token"].(string) }
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == pathUserinfo {
				var want string
				i.Do(func(*gatewaytest.Issuer) { asked++; want = "Bearer " + access })
				if r.Header.Get("Authorization") != want || r.Form.Has("access_token") || len(r.Header.Values("Authorization")) != 1 {
					t.Error("the access token does not come as Bearer in the header alone")
				}
			}
			return false
		}
	})
	c.signIn(t)
	c.Issuer.Do(func(*gatewaytest.Issuer) {
		if asked != 1 {
			t.Errorf("requests for userinfo: got %d, want 1", asked)
		}
	})
}

func (c *conformance) randomKeysURI(t *testing.T) {
	path := "/oidc/jwks" + gatewaytest.NewKey("ES256").ID
	c.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditDiscovery = func(doc map[string]any) { doc["jwks_uri"] = i.URL + path }
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				w.Header().Set("Content-Type", "application/json")
				json.NewEncoder(w).Encode(map[string]any{"keys": []any{i.Key.JWK(nil)}})
			}
			return r.URL.Path == path
		}
	})
	c.forget(t)
	before := c.calls()
	c.signIn(t)
	c.called(t, before, pathMetadata, 1)
	c.called(t, before, pathKeys, 0)
	c.called(t, before, path, 1)
}

func (c *conformance) issuerMismatch(t *testing.T) {
	c.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditDiscovery = func(doc map[string]any) { doc["issuer"] = doc["issuer"].(string) + "INVALID" }
	})
	c.forget(t)
	asked, before := len(c.Issuer.Requests()), c.calls()
	c.unavailable(t, "another issuer", c.way.ask(t, request{Lines: navigation}))
	if got := len(c.Issuer.Requests()) - asked; got != 0 {
		t.Errorf("authorization requests: got %d, want none", got)
	}
	c.called(t, before, pathMetadata, 1)
	c.called(t, before, pathKeys, 0)
	c.called(t, before, pathToken, 0)
}

func (c *conformance) keyRotation(t *testing.T) {
	before := c.calls()
	c.signIn(t)
	c.Issuer.Rotate()
	c.signIn(t)
	c.called(t, before, pathKeys, 2)
	c.called(t, before, pathUserinfo, 2)
}

func (c *conformance) keyRotationJustBefore(t *testing.T) {
	c.signIn(t)
	before := c.calls()
	c.way.signInWith(t, idToken{name: "rotated", make: func(i *gatewaytest.Issuer, _, claims map[string]any) string {
		i.Key, i.Keys = gatewaytest.NewKey("ES384"), nil
		return i.Key.Token(i.Key.Header(nil), claims)
	}})
	c.called(t, before, pathKeys, 1)
	c.called(t, before, pathUserinfo, 1)
}

// refreshed signs in with an access token that lasts a second, and asks for a page until it was refreshed. It returns
// the last answer.
func (c *conformance) refreshed(t *testing.T) (*traveller, *gatewaytest.Answer) {
	t.Helper()
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = time.Second })
	p := c.signIn(t)
	refreshes := c.Issuer.Calls("refresh_token")
	var a *gatewaytest.Answer
	gatewaytest.Await(t, "the tokens are refreshed", func() bool {
		c.Upstream.Forget()
		a = p.twin().get(t, "/app")
		return c.Issuer.Calls("refresh_token") > refreshes
	})
	return p, a
}

func (c *conformance) refresh(t *testing.T) {
	var presented, given, access, asked string
	c.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Rotating = true
		i.EditAnswer = func(answer map[string]any) {
			given, access = answer["refresh_token"].(string), answer["access_token"].(string)
		}
		i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
			i.Do(func(*gatewaytest.Issuer) {
				switch {
				case r.URL.Path == pathUserinfo:
					asked = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				case r.PostForm.Get("grant_type") == "refresh_token":
					presented = r.PostForm.Get("refresh_token")
					if presented != given {
						t.Error("the refresh token is not the one that was given")
					}
					if scope := r.PostForm.Get("scope"); scope != "" && scope != "openid offline_access profile email" {
						t.Errorf("scope of the refresh: got %q, want no more than was granted", scope)
					}
				}
			})
			return false
		}
	})
	t.Cleanup(func() { c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Rotating = false }) })
	p, _ := c.refreshed(t)
	gatewaytest.Await(t, "userinfo was asked with the new access token", func() (is bool) {
		c.Issuer.Do(func(*gatewaytest.Issuer) { is = presented != "" && asked == access })
		return is
	})
	if a := p.get(t, "/app"); a.Status != http.StatusOK {
		t.Errorf("the page after a refresh: got %s, want 200", a)
	}
}

// refreshRejects is a module whose refreshed ID token has a claim that is not the one of before: userinfo is not asked
// with what came, and the person signs in again.
func refreshRejects(claim string) func(*conformance, *testing.T) {
	return func(c *conformance, t *testing.T) {
		asked := 0 // userinfo, after the refresh
		c.Issuer.Do(func(i *gatewaytest.Issuer) {
			refreshing := false
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				i.Do(func(*gatewaytest.Issuer) {
					if r.URL.Path == pathToken {
						refreshing = r.PostForm.Get("grant_type") == "refresh_token"
					}
					if r.URL.Path == pathUserinfo && refreshing {
						asked++
					}
				})
				return false
			}
			i.Edit = func(claims map[string]any) {
				if refreshing {
					claims[claim] = claims[claim].(string) + "1"
				}
			}
		})
		p, _ := c.refreshed(t)
		gatewaytest.Await(t, "the session is over", func() bool {
			a := p.twin().get(t, "/app")
			return a.Status == http.StatusFound && strings.HasPrefix(a.Header.Get("Location"), c.Issuer.URL+"/oidc/auth?")
		})
		c.Upstream.Forget()
		c.toIssuer(t, p.get(t, "/app"))
		c.nothingReached(t)
		c.Issuer.Do(func(*gatewaytest.Issuer) {
			if asked != 0 {
				t.Errorf("requests for userinfo after the refresh: got %d, want none", asked)
			}
		})
	}
}

// leaver is somebody who has signed in, with a session at the issuer of their own.
func (c *conformance) leaver(t *testing.T) *traveller {
	t.Helper()
	person := maps.Clone(alice)
	person["sub"], person["sid"] = "sub-"+gatewaytest.NewKey("ES256").ID, "sid-"+gatewaytest.NewKey("ES256").ID
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = person })
	p := c.way.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
	return p
}

// signOut goes through a sign-out: to the issuer, which does what between says, and back. It returns what came back.
func (c *conformance) signOut(t *testing.T, p *traveller, between func()) *gatewaytest.Answer {
	t.Helper()
	var hint string
	for value, what := range c.Issuer.Secrets() { // the ID tokens so far
		if what == "id_token" {
			hint += " " + value
		}
	}
	a := p.post(t, "/sign-out", url.Values{"return_to": {"/app"}})
	u, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.Status != http.StatusSeeOther || !strings.HasPrefix(u.String(), c.Issuer.URL+"/oidc/session/end?") {
		t.Fatalf("signing out: got %s to %q, want 303 to the end-session endpoint", a, a.Header.Get("Location"))
	}
	q := u.Query()
	if got := q.Get("id_token_hint"); got == "" || !strings.Contains(hint, got) {
		t.Error("id_token_hint: it is no ID token of the issuer's")
	}
	if got, want := q.Get("post_logout_redirect_uri"), c.URL+"/_portero/signed-out"; got != want {
		t.Errorf("post_logout_redirect_uri: got %q, want %q", got, want)
	}
	if q.Get("state") == "" {
		t.Error("state: it is missing")
	}
	between()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, ok := strings.CutPrefix(resp.Header.Get("Location"), c.URL)
	if !ok {
		t.Fatalf("the issuer sends the browser to %q", resp.Header.Get("Location"))
	}
	return p.get(t, back)
}

// out fails unless somebody is signed out, and stays so.
func (c *conformance) out(t *testing.T, p *traveller, session string) {
	t.Helper()
	p.cookies[p.Cookie()] = session
	c.Upstream.Forget()
	c.toIssuer(t, p.get(t, "/app"))
	c.nothingReached(t)
}

// endSession is a module about the way back from the end of a session.
func endSession(change func(url.Values)) func(*conformance, *testing.T) {
	return func(c *conformance, t *testing.T) {
		p := c.leaver(t)
		session := p.session()
		c.Issuer.Do(func(i *gatewaytest.Issuer) { i.EditReturn = change })
		a := c.signOut(t, p, func() {
			if got := c.Logout(t, c.Issuer.LogoutToken(nil)); got.StatusCode != http.StatusOK {
				t.Errorf("the logout token: got %s, want 200", got.Status)
			}
		})
		shows(t, a, http.StatusOK, headSignedOut)
		if back := strings.Contains(a.Body, "return_to=%2Fapp"); back != (change == nil) {
			t.Errorf("a link to where the person was: got %t, want %t", back, change == nil)
		}
		c.out(t, p, session)
	}
}

// sends is a module about a logout token, which comes while somebody signs out here; another browser of the same person
// shows what it does.
func (c *conformance) sends(t *testing.T, status int, token func() string) {
	t.Helper()
	p := c.leaver(t)
	session := p.session()
	var other *traveller
	a := c.signOut(t, p, func() {
		// Signed in again elsewhere meanwhile, with the same sid: only a good logout token ends that.
		other = c.way.traveller(t)
		seeOther(t, other.get(t, other.leave(t, "/sign-in?fresh=1&return_to=/app")), "/app")
		got := c.Logout(t, token())
		if got.StatusCode != status {
			t.Errorf("the logout token: got %s, want %d", got.Status, status)
		}
		if cache := got.Header.Get("Cache-Control"); cache != "no-store" {
			t.Errorf("Cache-Control of the answer to a logout token: got %q, want no-store", cache)
		}
	})
	shows(t, a, http.StatusOK, headSignedOut)
	c.out(t, p, session)
	c.Upstream.Forget()
	if a := other.get(t, "/app"); (a.Status == http.StatusOK) != (status == http.StatusBadRequest) {
		t.Errorf("the session that the logout token is about: got %s after an answer of %d", a, status)
	}
	c.Upstream.Forget()
}

func logoutToken(status int, edit func(header, claims map[string]any)) func(*conformance, *testing.T) {
	return func(c *conformance, t *testing.T) {
		c.sends(t, status, func() string {
			return c.Issuer.LogoutToken(func(header, claims map[string]any) {
				claims["exp"], claims["ignored_claim"] = time.Now().Add(2*time.Minute).Unix(), "Logout Tokens MAY contain other Claims"
				if edit != nil {
					edit(header, claims)
				}
			})
		})
	}
}

// unsignedLogout are header and claims of a good logout token.
func (c *conformance) unsignedLogout() (header, claims map[string]any) {
	c.Issuer.LogoutToken(func(h, c map[string]any) { header, claims = maps.Clone(h), maps.Clone(c) })
	return header, claims
}

func (c *conformance) logoutAlgNone(t *testing.T) {
	c.sends(t, http.StatusBadRequest, func() string {
		header, claims := c.unsignedLogout()
		header["alg"] = "none"
		delete(header, "kid")
		return gatewaytest.Unsigned(header, claims) + "."
	})
}

// logoutWrongAlg is signed by a key of another kind, which the key set has.
func (c *conformance) logoutWrongAlg(t *testing.T) {
	wrong := gatewaytest.NewKey("RS256")
	c.Issuer.Do(func(i *gatewaytest.Issuer) { i.Keys = []any{i.Key.JWK(nil), wrong.JWK(map[string]any{"alg": "RS512"})} })
	c.forget(t)
	for _, token := range []func(header, claims map[string]any) string{
		func(header, claims map[string]any) string {
			return wrong.TokenAs("RS512", wrong.Header(map[string]any{"alg": "RS512", "typ": "logout+jwt"}), claims)
		},
		func(header, claims map[string]any) string {
			header["alg"] = "HS256"
			return gatewaytest.SharedSecretToken([]byte(c.Issuer.AppSecret), header, claims)
		},
	} {
		c.sends(t, http.StatusBadRequest, func() string { return token(c.unsignedLogout()) })
	}
}
