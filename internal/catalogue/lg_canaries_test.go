package catalogue_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// canarySecrets drives one program through everything, with a canary in every place that a secret can be in.
func canarySecrets(t *testing.T, _ *doors) {
	const (
		// A page that offers to try again leads to where somebody wanted to go; nothing else tells of it.
		whither = "whither-somebody-wanted-to-go"
		query   = gatewaytest.Canary + "query"
	)
	server := redistest.Options{User: "portero", Password: gatewaytest.Canary + "password-of-redis"}.Start(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(gatewaytest.Canary+"session-secret-0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trail := filepath.Join(dir, "audit.log")
	o := gatewaytest.Options{
		TLS:     true,
		Routes:  strict + "  - {name: gone, path: /gone, upstreams: [{url: \"http://127.0.0.1:9\"}]}\n  - {name: office, path: /office, allow: [{networks: [10.9.0.0/16]}], upstreams: [{url: UPSTREAM}]}\n",
		Session: fmt.Sprintf("store: redis, secret_file: %q, old_secrets: [{value: %sold-secret-0123456789abcdefg}], redis: {url: %q}", secret, gatewaytest.Canary, server.URL()),
		Log:     fmt.Sprintf("level: debug, audit_file: %q", trail),
		Extra:   headers + "mailgun: {domain: mg.example.com, api_key: " + gatewaytest.Canary + "mailgun, from: x@example.com}\n",
	}
	w := way{front: unsigned(t, o)}
	f := w.front
	lines := with(navigation, "Authorization", "Bearer "+gatewaytest.Canary+"authorization", "Referer", "https://gw.test/?"+query, "Cookie", "app="+gatewaytest.Canary+"cookie", "User-Agent", "Mozilla/5.0",
		"X-Forwarded-Access-Token", gatewaytest.Canary+"token", "Proxy-Authorization", "Basic "+gatewaytest.Canary+"proxy")
	visit := func(p *traveller, target string) *gatewaytest.Answer {
		return p.send(t, request{Target: target, Lines: lines})
	}
	signIn := func() *traveller {
		t.Helper()
		p := w.traveller(t)
		back := p.atIssuer(t, visit(p, "/app?"+whither))
		a := visit(p, back)
		if a.Status == http.StatusFound { // a fresh sign-in is asked for
			back = p.atIssuer(t, a)
			a = visit(p, back)
		}
		if a.Status != http.StatusSeeOther || p.session() == "" {
			t.Fatalf("signing in: got %s\n%s", a, a.Body)
		}
		visit(p, back)              // again, in the same browser
		visit(w.traveller(t), back) // and in another
		return p
	}
	calm := func() {
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person, i.Edit, i.EditAnswer, i.Answer, i.AuthError, i.AccessLife = maps.Clone(alice), nil, nil, nil, "", 0
		})
	}
	refuse := func(is func(*http.Request) bool, status int, code string) {
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if !is(r) {
					return false
				}
				echo(rw, status, map[string]string{"error": code, "error_description": gatewaytest.Canary + "description " + saidTo(r)})
				return true
			}
		})
	}
	grant := func(name string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.PostForm.Get("grant_type") == name }
	}
	at := func(path string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.URL.Path == path }
	}

	// Signed in, and refused in every way.
	p := signIn()
	for _, target := range []string{
		"/app?" + whither, "/admin/x?" + whither, "/office?" + whither, "/gone?" + whither, "/public/x?" + whither, "/optional/?" + whither, "/app/%2e%2e/x?" + whither, "/app/%00?" + whither, "/app/a%2fb?" + whither, "/_portero/?" + whither,
		"/_portero/none?" + whither, "/_portero/session?" + whither, "/sign-out?return_to=/%3F" + whither, "/sign-in?return_to=/%3F" + whither, "/_portero/language?lang=es&return_to=/%3F" + whither,
		"/callback?code=" + query + "&state=" + query + "&iss=" + query, "/callback?error=" + query + "&error_description=" + query + "&state=" + query,
	} {
		visit(p, target)
		visit(w.traveller(t), target)
		w2 := way{front: f, h2: true}
		w2.ask(t, request{Target: target, Lines: lines})
	}
	p.send(t, request{Method: "POST", Target: "/app?" + whither, Body: "form=" + gatewaytest.Canary + "form", Lines: lines})
	w.traveller(t).send(t, request{Method: "POST", Target: "/app?" + whither, Body: "form=" + gatewaytest.Canary + "form", Lines: lines})
	forged := w.traveller(t)
	forged.cookies[f.Cookie()] = gatewaytest.Canary + strings.Repeat("A", 36)
	forged.cookies[f.Cookie()+"-AAAAAAAAAAAAAAAAAAAAAA"] = gatewaytest.Canary + "attempt"
	visit(forged, "/app")
	p.send(t, request{Target: "/app/ws?" + whither, Lines: append(fieldsOf("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol", gatewaytest.Canary+"protocol", "Origin", f.URL), lines[4:]...)})

	// The application breaks in every way.
	for _, answer := range []string{
		"HTTP/1.1 999 " + query + "\r\n" + query + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + query, "garbage " + query + "\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nUpgrade: " + query + "\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 200 OK\r\nX: " + query + "\nY:\x01" + query + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz" + query + "\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + query + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: " + query + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nWWW-Authenticate: NTLM " + query + "\r\nSet-Cookie: __Host-portero=" + query + "\r\nX-Auth-Email: " + query + "\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Upstream.Say(func(string) string { return answer }, true)
		p.twin().send(t, request{Target: "/app/broken?" + whither, Lines: navigation})
	}
	f.Upstream.Say(nil, false)

	// A sign-in fails at every step.
	for name, step := range map[string]func(){
		"at the issuer":        func() { f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError = "access_denied" }) },
		"with a word":          func() { f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError = gatewaytest.Canary + "error" }) },
		"at the code":          func() { refuse(grant("authorization_code"), 400, "invalid_grant") },
		"at the client":        func() { refuse(grant("authorization_code"), 401, "invalid_client") },
		"with an unknown code": func() { refuse(grant("authorization_code"), 400, gatewaytest.Canary+"code") },
		"at the issuer's end":  func() { refuse(grant("authorization_code"), 503, "x") },
		"at the claims":        func() { refuse(at("/oidc/me"), 500, "x") },
		"by the audience": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["aud"] = query } })
		},
		"by the nonce": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["nonce"] = query } })
		},
		"by the issuer": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["iss"] = query } })
		},
		"by a claim's type": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["exp"] = query } })
		},
		"without a subject": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { delete(c, "sub") } })
		},
		"by a token that is no": func() {
			f.Issuer.Do(func(i *gatewaytest.Issuer) { i.EditAnswer = func(a map[string]any) { a["id_token"] = query } })
		},
	} {
		step()
		q := w.traveller(t)
		if visit(q, q.atIssuer(t, visit(q, "/app?"+whither))); q.session() != "" {
			t.Errorf("%s: there is a session", name)
		}
		calm()
	}

	// Refreshed; put off; refused.
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife, i.Rotating = time.Second, true })
	p = signIn()
	calls := func(n int) func() bool {
		return func() bool { visit(p, "/app?"+whither); return f.Issuer.Calls("/oidc/token") >= n }
	}
	gatewaytest.Await(t, "a refresh", calls(f.Issuer.Calls("/oidc/token")+1))
	refuse(grant("refresh_token"), 503, "temporarily_unavailable")
	gatewaytest.Await(t, "a refresh that is put off", calls(f.Issuer.Calls("/oidc/token")+1))
	calm()
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = time.Second })
	p = signIn()
	refuse(grant("refresh_token"), 400, "invalid_grant")
	gatewaytest.Await(t, "a refresh that is refused", calls(f.Issuer.Calls("/oidc/token")+1))
	calm()

	// Logout tokens, good and bad; signing out; an operator's end.
	p = signIn()
	for _, edit := range []func(h, c map[string]any){
		func(_, c map[string]any) { c["aud"] = query }, func(_, c map[string]any) { c["nonce"] = query }, func(_, c map[string]any) { c["events"] = query }, func(h, _ map[string]any) { h["alg"] = query }, nil,
	} {
		token := f.Issuer.LogoutToken(edit)
		f.Secret(token, "logout token")
		f.Logout(t, token)
	}
	f.PostLogout(t, "application/x-www-form-urlencoded", "logout_token="+query+"&logout_token="+query, nil)
	f.PostLogout(t, "application/x-www-form-urlencoded", query+"%zz", nil)
	p = signIn()
	refuse(at("/oidc/token/revocation"), 400, "invalid_request")
	p.post(t, "/sign-out", url.Values{"return_to": {"/app?" + whither}, "x": {query}})
	gatewaytest.Await(t, "the revocation", func() bool { return f.Issuer.Calls("/oidc/token/revocation") > 0 })
	calm()
	p = signIn()
	f.atAdmin(t, "GET /api/sessions?"+query+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+query+"\r\n\r\n")
	f.atAdmin(t, "POST /api/sessions/revoke?"+query+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+gatewaytest.AdminToken+"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 20\r\n\r\nsubject=t8x4l8ohti1t")

	// The store goes away in the middle of it, and comes back.
	p = signIn()
	server.Kill()
	gatewaytest.Await(t, "the store is missed", func() bool { return visit(p, "/app?"+whither).Status == http.StatusServiceUnavailable })
	q := w.traveller(t)
	visit(q, q.atIssuer(t, visit(q, "/app?"+whither)))
	server.Restart()
	gatewaytest.Await(t, "the store is back", func() bool { return f.Admin(t, http.MethodGet, "/readyz").StatusCode == http.StatusOK })

	// Configurations, good and bad, and what the commands say of them.
	f.Hangup(t)
	bad := o
	bad.Session = fmt.Sprintf("store: redis, secret: {a: %q}, old_secrets: [{value: [%q]}], lifetime: %q, redis: {url: %q}", query, query, "30", "redis://u:"+gatewaytest.Canary+"p@%zz:x/0")
	bad.Extra = strings.ReplaceAll(o.Extra, "api_key:", "api_key_file: /nowhere, api_key:") + "upstream: \"http://u:" + gatewaytest.Canary + "p@127.0.0.1:1\"\n"
	f.Configure(&bad)
	f.Hangup(t)
	if a := f.atAdmin(t, "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+gatewaytest.AdminToken+"\r\nContent-Length: 0\r\n\r\n"); a.Status != http.StatusConflict {
		t.Errorf("a reload of a bad configuration: got %s, want 409", a)
	} else {
		f.Keep("the answer to a reload", a.Body)
	}
	out, err := f.Process.Command("check", "--config", f.Process.File("portero.yaml")).CombinedOutput()
	if err == nil {
		t.Error("portero check takes the bad configuration")
	}
	f.Keep("portero check of a bad configuration", string(out))
	f.Configure(&o)
	if out, err = f.Process.Command("check", "--config", f.Process.File("portero.yaml")).CombinedOutput(); err != nil {
		t.Errorf("portero check: %v\n%s", err, out)
	}
	f.Keep("portero check", string(out))
	f.Keep("a dump of the stacks", f.dump(t))

	p = signIn()
	text, err := os.ReadFile(trail)
	if err != nil || !strings.Contains(string(text), `"sign-in"`) {
		t.Errorf("the audit file: %d bytes, %v", len(text), err)
	}
	f.Keep("the audit file", string(text))
	for where, text := range map[string]string{"the log": f.Log.String(), "the audit file": string(text), "the metrics": f.Admin(t, http.MethodGet, "/metrics").Text, "the status": f.Admin(t, http.MethodGet, "/api/status").Text} {
		if i := strings.Index(text, whither); i >= 0 {
			t.Errorf("the query of a return path is in %s: …%s…", where, text[max(0, i-200):i+20])
		}
	}
	if got := len(f.Issuer.Secrets()); got < 100 || !strings.Contains(f.Log.String(), `"level":"ERROR"`) {
		t.Errorf("%d secrets, want those of all these sign-ins, and errors in the log", got)
	}
}

// dump is what another run of the program writes when it is told to by SIGQUIT.
func (f *front) dump(t *testing.T) string {
	t.Helper()
	cmd := f.Process.Command("serve", "--config", f.Process.File("portero.yaml"))
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it listens
		t.Errorf("the second run: %v", err)
	}
	cmd.Process.Signal(syscall.SIGQUIT)
	cmd.Wait()
	if !strings.Contains(log.String(), "goroutine ") {
		t.Errorf("SIGQUIT: no stacks in\n%s", log.String())
	}
	return log.String()
}
