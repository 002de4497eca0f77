package catalogue_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var logs = family{ID: "LG", Title: "Logs", Attacks: []attack{
	{ID: "LG-01", Name: "canary secrets", Want: "no secret in the log at debug level, the audit file, metrics, the admin listener, a page, the output of portero check or a dump of the stacks, whatever goes well or wrong", Why: "CVE-2022-23469 Traefik; mod_auth_openidc in 2026", Test: canarySecrets,
		Missing: "Traces: the gateway writes none yet. A core dump of the memory, which holds what is in use by its nature."},
	{ID: "LG-02", Name: "echo of the issuer", Want: "an answer of the issuer that repeats what it was sent is told by its kind alone", Why: "an error of the SDK has the whole body in its text, code and verifier included", Test: echoOfTheIssuer},
	{ID: "LG-03", Name: "queries in the access log", Want: "every request is one line with its path, and nothing of its query", Why: "codes and states in access logs", Test: queriesInTheLog},
	{ID: "LG-04", Name: "log injection", Want: "whatever a request has in it, each of its lines is one line of valid JSON, escaped, of 8 KiB at most; as text nothing that commands a terminal", Why: "CVE-2026-42507 and CVE-2025-58189 Go, CVE-2024-45808 Envoy", Test: logInjection},
	{ID: "LG-05", Name: "errors about the configuration", Want: "exit code 2, the key and the line, and never the value of a secret", Why: "two advisories of mapstructure; mod_auth_openidc in 2026", Test: configurationErrors},
	{ID: "LG-06", Name: "third services", Want: "what the issuer is sent is of the gateway's own making: no header, cookie, credential or trace of the client", Why: "CVE-2026-41181", Test: thirdServices,
		Missing: "A service for error pages and one for traces, which the gateway does not have."},
	{ID: "LG-07", Name: "audit", Want: "sign-in, sign-out, refused refresh, back-channel logout, denied WebSocket and reload are one line each, with the public id of the session and the true client", Test: auditTrail},
}}

// unsaid fails if a text has anything in it that the issuer and the gateway alone may know, or a canary, in the clear, as
// an escape or in base64.
func (f *front) unsaid(t *testing.T, where, text string) {
	t.Helper()
	secrets := f.Issuer.Secrets()
	maps.Copy(secrets, map[string]string{gatewaytest.Canary: "a canary", gatewaytest.SessionSecret: "session.secret"})
	basic := base64.StdEncoding.EncodeToString([]byte(f.Issuer.AppID + ":" + f.Issuer.AppSecret))
	secrets[basic] = "credentials of the application"
	for value, what := range secrets {
		if value == "" {
			continue
		}
		for _, form := range []string{value, url.QueryEscape(value)} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s has the %s: …%s…", where, what, text[max(0, at-200):min(len(text), at+len(form)+40)])
				break
			}
		}
	}
}

// entry is a line of a log.
type entry struct {
	Msg, Level, Method, Host, Path, Error, Route, Client string
	Status                                               int
}

// entriesSince are the whole lines of a log behind a position.
func entriesSince(t *testing.T, log *gatewaytest.Lines, from int) []entry {
	t.Helper()
	var out []entry
	for line := range strings.Lines(log.String()[from:]) {
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("a line of the log is no JSON: %v\n%.500q", err, line)
		}
		out = append(out, e)
	}
	return out
}

// awaitEntry waits for a line behind a position, and returns the first that is meant.
func awaitEntry(t *testing.T, log *gatewaytest.Lines, from int, what string, meant func(entry) bool) entry {
	t.Helper()
	var found entry
	gatewaytest.Await(t, what+" is in the log", func() bool {
		all := entriesSince(t, log, from)
		i := slices.IndexFunc(all, meant)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

// echoes is an issuer that repeats what it was sent, in one of several ways.
var echoes = map[string]func(w http.ResponseWriter, said string){
	"as a description": func(w http.ResponseWriter, said string) {
		echo(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": said})
	},
	"as a code of its own": func(w http.ResponseWriter, said string) {
		echo(w, http.StatusBadRequest, map[string]string{"code": "oidc." + said, "error": said, "error_uri": "https://x.test/?" + said})
	},
	"as a server's error": func(w http.ResponseWriter, said string) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, "<h1>"+said)
	},
	"as JSON that breaks off": func(w http.ResponseWriter, said string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "expires_in": %q, "id_token": %q`, said, said, said)
	},
	"in fields of other types": func(w http.ResponseWriter, said string) {
		echo(w, http.StatusOK, map[string]any{"access_token": []string{said}, "expires_in": said, "id_token": map[string]string{said: said}})
	},
	"as an ID token": func(w http.ResponseWriter, said string) {
		echo(w, http.StatusOK, map[string]any{"access_token": said, "refresh_token": said, "id_token": said + "." + said + "." + said, "expires_in": 3600, "token_type": said})
	},
	"in a redirect": func(w http.ResponseWriter, said string) {
		w.Header().Set("Location", "https://evil.test/?"+said)
		w.WriteHeader(http.StatusTemporaryRedirect)
	},
	"in headers": func(w http.ResponseWriter, said string) {
		w.Header().Set("WWW-Authenticate", `Bearer error="`+said+`"`)
		w.Header().Set("Content-Type", said)
		w.WriteHeader(http.StatusUnauthorized)
	},
	"in a head that is none": func(w http.ResponseWriter, said string) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 2000 %s\r\n%s\r\n\r\n", said, said)
			c.Close()
		}
	},
}

func echo(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// saidTo is what a caller has told the issuer.
func saidTo(r *http.Request) string {
	id, secret, _ := r.BasicAuth()
	values := []string{r.PostForm.Encode(), id, secret, r.Header.Get("Authorization")}
	for _, v := range r.PostForm {
		values = append(values, v...)
	}
	return strings.Join(values, " ")
}

// signedIn is a new person who has signed in, freshly where that is asked for.
func (w way) signedIn(t *testing.T, lines [][2]string) *traveller {
	t.Helper()
	p := w.traveller(t)
	a := p.send(t, request{Target: "/app", Lines: append(slices.Clone(navigation), lines...)})
	for range 2 {
		if a.Status == http.StatusFound {
			a = p.send(t, request{Target: p.atIssuer(t, a), Lines: append(slices.Clone(navigation), lines...)})
		}
	}
	seeOther(t, a, "/app")
	return p
}

func echoOfTheIssuer(t *testing.T, d *doors) {
	isCallback := func(e entry) bool { return e.Msg == "request" && e.Path == "/callback" }
	// repeat makes the issuer repeat what it is sent at some calls.
	repeat := func(f *front, answer func(http.ResponseWriter, string), is func(*http.Request) bool) {
		f.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
				if !is(r) {
					return false
				}
				answer(rw, saidTo(r))
				return true
			}
		})
	}
	d.stranger(t, func(t *testing.T, w way) {
		w.issuer(t, func(*gatewaytest.Issuer) {})
		for how, answer := range echoes {
			for what, is := range map[string]func(*http.Request) bool{
				"a code": func(r *http.Request) bool { return r.PostForm.Get("grant_type") == "authorization_code" },
				"claims": func(r *http.Request) bool { return r.URL.Path == "/oidc/me" },
			} {
				w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
				p, from := w.traveller(t), len(w.Log.String())
				back := p.leave(t, "/app")
				repeat(w.front, answer, is)
				a := p.get(t, back)
				if p.session() != "" || a.Status < 400 && a.Status != http.StatusFound {
					t.Errorf("%s that is answered %s: got %s, want a page that says so, or a new beginning", what, how, a)
				}
				w.unsaid(t, "the page", a.Body)
				awaitEntry(t, w.Log, from, "the callback", isCallback)
				w.unsaid(t, "the log of "+what+" that is answered "+how, w.Log.String()[from:])
			}
		}
	})
	f := d.Plain()
	w := way{front: f}
	f.issuer(t, func(i *gatewaytest.Issuer) { i.AccessLife = time.Second })
	people := map[string]*traveller{}
	for how := range echoes {
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-" + how })
		people[how] = w.signedIn(t, nil)
	}
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = time.Hour })
	for how, p := range people {
		from, asked := len(f.Log.String()), f.Issuer.Calls("/oidc/token")
		repeat(f, echoes[how], func(r *http.Request) bool { return r.PostForm.Get("grant_type") == "refresh_token" })
		gatewaytest.Await(t, "a refresh was tried", func() bool {
			f.unsaid(t, "the page", p.twin().get(t, "/app").Body)
			return f.Issuer.Calls("/oidc/token") > asked
		})
		gatewaytest.Await(t, "a refresh that failed is in the log", func() bool {
			return strings.Contains(f.Log.String()[from:], "refresh")
		})
		f.unsaid(t, "the log of a refresh that is answered "+how, f.Log.String()[from:])

		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.Person["sid"] = nil, "sid-out-"+how })
		p = w.signedIn(t, nil)
		repeat(f, echoes[how], func(r *http.Request) bool { return r.URL.Path == "/oidc/token/revocation" })
		from, asked = len(f.Log.String()), f.Issuer.Calls("/oidc/token/revocation")
		f.unsaid(t, "the page", p.post(t, "/sign-out", url.Values{}).Body)
		gatewaytest.Await(t, "the revocation was sent", func() bool { return f.Issuer.Calls("/oidc/token/revocation") > asked })
		awaitEntry(t, f.Log, from, "the sign-out", func(e entry) bool { return e.Msg == "request" && e.Path == "/sign-out" })
		f.unsaid(t, "the log of a revocation that is answered "+how, f.Log.String()[from:])
	}
	f.Upstream.Forget()
}

func queriesInTheLog(t *testing.T, d *doors) {
	const query = gatewaytest.Canary + "in-a-query"
	d.each(t, func(t *testing.T, w way) {
		for _, path := range []string{
			"/callback", "/_portero/callback", "/sign-in", "/_portero/sign-in", "/sign-out", "/_portero/sign-out", "/_portero/", "/_portero/session", "/_portero/signed-out",
			"/_portero/continue", "/_portero/language", "/_portero/none", "/_portero/backchannel-logout", "/public/x", "/optional/x", "/app", "/admin/x", "/app/%2e%2e/x", "/app/%00", "/app/a%2fb",
		} {
			for _, method := range []string{"GET", "POST", "TRACE"} {
				from := len(w.Log.String())
				a := w.ask(t, request{Method: method, Target: path + "?code=" + query + "&state=" + query + "&error=" + query + "&return_to=/" + query + "&?" + query})
				if a.Status == 0 {
					t.Fatalf("%s %s: %s", method, path, a)
				}
				e := awaitEntry(t, w.Log, from, method+" "+path, func(e entry) bool { return e.Msg == "request" })
				if strings.ContainsAny(e.Path, "?") || e.Status != a.Status || e.Method != method {
					t.Errorf("%s %s: got the line %+v, want the path alone, the method and %d", method, path, e, a.Status)
				}
				w.unsaid(t, method+" "+path+" in the log", w.Log.String()[from:])
			}
		}
		w.Upstream.Forget()
	})
	// The whole address in the request line, and one that a form was sent to.
	f := d.Plain()
	from := len(f.Log.String())
	f.Raw(t, "GET https://gw.test/callback?code="+query+" HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	awaitEntry(t, f.Log, from, "the whole address", func(e entry) bool { return e.Path == "/callback" })
	f.unsaid(t, "the log", f.Log.String()[from:])
}

// clientLines are headers with which a client would reach further than the gateway.
var clientLines = fieldsOf("Authorization", "Bearer "+gatewaytest.Canary+"authorization", "X-Api-Key", gatewaytest.Canary+"key", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	"Tracestate", "x="+gatewaytest.Canary+"state", "Baggage", "user="+gatewaytest.Canary+"baggage", "X-B3-TraceId", gatewaytest.Canary+"b3", "Uber-Trace-Id", gatewaytest.Canary+"uber",
	"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.9", "Referer", "https://gw.test/?"+gatewaytest.Canary+"referer", "X-Auth-Email", "root@corp", "User-Agent", "client/"+gatewaytest.Canary+"agent",
	"Proxy-Authorization", "Basic "+gatewaytest.Canary+"proxy", "X-Original-Url", "/"+gatewaytest.Canary+"original")

func thirdServices(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		var mu sync.Mutex
		calls := map[string]int{}
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.AccessLife = time.Second
			i.Person["sid"] = t.Name()
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/oidc/auth" || r.URL.Path == "/oidc/session/end" {
					return false // that is the browser
				}
				mu.Lock()
				defer mu.Unlock()
				calls[r.URL.Path]++
				for name, values := range r.Header {
					switch {
					case !slices.Contains([]string{"Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "User-Agent"}, name):
						t.Errorf("%s at the issuer: got %s: %q, want none", r.URL.Path, name, values)
					case name == "Authorization" && !strings.HasPrefix(values[0], "Basic ") && r.URL.Path != "/oidc/me", len(values) != 1, name == "User-Agent" && strings.Contains(values[0], "client/"):
						t.Errorf("%s at the issuer: got %s: %q", r.URL.Path, name, values)
					}
				}
				if all := fmt.Sprint(r.Header, r.URL, r.PostForm, r.Trailer); strings.Contains(all, gatewaytest.Canary) || strings.Contains(all, "203.0.113.9") {
					t.Errorf("%s at the issuer: got something of the client's: %s", r.URL.Path, all)
				}
				return false
			}
		})
		cookie := [2]string{"Cookie", "app=" + gatewaytest.Canary + "cookie"}
		p := w.traveller(t)
		p.cookies["app"] = gatewaytest.Canary + "cookie"
		lines := append(slices.Clone(navigation), clientLines...)
		back := p.atIssuer(t, p.send(t, request{Target: "/app?q=" + gatewaytest.Canary + "query", Lines: lines}))
		if a := p.send(t, request{Target: back, Lines: lines}); a.Status != http.StatusSeeOther || p.session() == "" {
			t.Fatalf("signing in: got %s", a)
		}
		refreshes := w.Issuer.Calls("refresh_token")
		gatewaytest.Await(t, "a refresh", func() bool {
			p.send(t, request{Target: "/app", Lines: lines})
			return w.Issuer.Calls("refresh_token") > refreshes
		})
		p.send(t, request{Method: "POST", Target: "/sign-out", Body: "return_to=/", Lines: append(with(clientLines, "Content-Type", "application/x-www-form-urlencoded", "Origin", w.URL, "Sec-Fetch-Site", "same-origin", "Accept", "text/html"), cookie)})
		gatewaytest.Await(t, "the revocation", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return calls["/oidc/token/revocation"] == 1
		})
		mu.Lock()
		defer mu.Unlock()
		for _, path := range []string{"/oidc/token", "/oidc/me"} {
			if calls[path] == 0 {
				t.Errorf("%s was never asked: the test sees nothing", path)
			}
		}
		w.Upstream.Forget()
	})
}

// publicID is what a session is called in logs: the beginning of the hash of its token.
func publicID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func auditTrail(t *testing.T, _ *doors) {
	const client = "203.0.113.7"
	trail := filepath.Join(t.TempDir(), "audit.log")
	o := gatewaytest.Options{TLS: true, Routes: strict, Extra: "trusted_proxies: [127.0.0.1/32]\n" + headers, Log: fmt.Sprintf("level: debug, audit_file: %q", trail)}
	w := way{front: unsigned(t, o)}
	type line struct {
		Action, Outcome, Reason, Route, Subject, Email, Session, Client, Host, Path string
		RequestID                                                                   string `json:"request_id"`
	}
	read := 0
	// next are the lines that have come since it was called last.
	next := func(n int) []line {
		t.Helper()
		var out []line
		gatewaytest.Await(t, fmt.Sprintf("%d lines are in the audit file", n), func() bool {
			text, err := os.ReadFile(trail)
			if err != nil {
				t.Fatal(err)
			}
			return bytes.Count(text[read:], []byte("\n")) >= n
		})
		text, _ := os.ReadFile(trail)
		for l := range strings.Lines(string(text[read:])) {
			var one line
			if err := json.Unmarshal([]byte(l), &one); err != nil {
				t.Fatalf("%v: %s", err, l)
			}
			out = append(out, one)
		}
		read = len(text)
		w.Keep("the audit file", string(text))
		return out
	}
	// one fails unless exactly these have come, in this order, each with a client, and with Alice or nobody.
	want := func(what string, session string, want ...string) {
		t.Helper()
		got := next(len(want))
		var said []string
		for _, l := range got {
			said = append(said, strings.TrimSpace(strings.Join([]string{l.Action, l.Outcome, l.Reason, l.Route}, " ")))
			of := ""
			if session != "" {
				of = publicID(session)
			}
			asked := l.RequestID != ""
			if asked && l.Client != client && l.Client != "127.0.0.1" || !asked && l.Client != "" && l.Host != "localhost" {
				t.Errorf("%s: the client of %+v is wrong", what, l)
			}
			if l.Session != "" && (of == "" || !strings.HasPrefix(of, l.Session) || len(l.Session) < 6 || strings.Contains(session, l.Session)) {
				t.Errorf("%s: the session is %q, want the beginning of %q", what, l.Session, of)
			}
			if l.Outcome != "sign-in" && l.Action != "reload" && !strings.Contains(l.Outcome, "failed") && (l.Session == "" || l.Subject != "t8x4l8ohti1t" || l.Email != "alice@example.com") {
				t.Errorf("%s: nobody is named in %+v", what, l)
			}
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s: got %q, want %q", what, said, want)
		}
	}
	via := fieldsOf("X-Forwarded-For", client, "X-Forwarded-Proto", "https")
	ask := func(p *traveller, target string) *gatewaytest.Answer {
		return p.send(t, request{Target: target, Lines: append(slices.Clone(navigation), via...)})
	}
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice); i.Person["roles"] = []string{} })
	signIns := 0
	signIn := func() *traveller {
		t.Helper()
		signIns++
		w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = fmt.Sprint("sid-", signIns) }) // one at the issuer too
		p := w.traveller(t)
		seeOther(t, ask(p, p.atIssuer(t, ask(p, "/app?x=1"))), "/app?x=1")
		want("signing in", p.session(), "decision sign-in no-session app", "sign-in succeeded")
		return p
	}
	p := signIn()
	ask(p, "/app")
	want("a request", p.session(), "decision allow rule app")
	ask(p, "/public/x")
	a := p.send(t, request{Target: "/admin/ws", Lines: with(via, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://gw.test")})
	if a.Status != http.StatusForbidden {
		t.Errorf("the WebSocket: got %s, want 403", a)
	}
	want("a WebSocket that is denied", p.session(), "decision deny no-rule admin")
	token := p.session()
	p.send(t, request{Method: "POST", Target: "/sign-out", Body: "x=1", Lines: with(via, "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://gw.test", "Sec-Fetch-Site", "same-origin", "Accept", "text/html")})
	want("signing out", token, "sign-out succeeded")

	p = signIn()
	w.Logout(t, w.Issuer.LogoutToken(nil))
	want("a back-channel logout", p.session(), "session-ended ended backchannel-logout")

	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = time.Second })
	p = signIn()
	w.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.PostForm.Get("grant_type") != "refresh_token" {
				return false
			}
			gatewaytest.Refuse(rw, http.StatusBadRequest, "invalid_grant")
			return true
		}
	})
	gatewaytest.Await(t, "the session ends by its refresh", func() bool {
		return p.twin().get(t, "/public/x").Status == 200 && ask(p.twin(), "/optional/x").Status == 200 && w.Sessions(t) == 0
	})
	all := next(1)
	ended := slices.DeleteFunc(all, func(l line) bool { return l.Action == "decision" })
	if len(ended) != 1 || ended[0].Action != "session-ended" || ended[0].Subject != "t8x4l8ohti1t" || !strings.HasPrefix(publicID(p.session()), ended[0].Session) || ended[0].Session == "" {
		t.Errorf("a refresh that is refused: got %+v, want one end of the session", ended)
	}
	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.AuthError = nil, "access_denied" })
	p = w.traveller(t)
	ask(p, p.atIssuer(t, ask(p, "/app")))
	failed := next(2)
	if len(failed) != 2 || failed[1].Action != "sign-in" || failed[1].Outcome != "failed" || failed[1].Client != client {
		t.Errorf("a sign-in that fails: got %+v", failed)
	}

	w.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthError, i.AccessLife = "", 0 })
	p = signIn()
	resp := w.adminForm(t, "/api/sessions/revoke", url.Values{"subject": {"t8x4l8ohti1t"}})
	if resp.Status != http.StatusOK {
		t.Errorf("revoking: got %s %s", resp, resp.Body)
	}
	want("an operator's end of a session", p.session(), "session-ended ended operator")

	w.Hangup(t)
	want("a reload", "", "reload succeeded")
	bad := o
	bad.Extra = "colour: blue\n" + headers
	w.Configure(&bad)
	w.Hangup(t)
	want("a reload that fails", "", "reload failed")
}
