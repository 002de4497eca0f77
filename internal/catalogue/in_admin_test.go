package catalogue_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"portero/internal/gatewaytest"
)

func oddAddresses(t *testing.T, d *doors) {
	_, f, of := d.Inviting()
	n := of[f]
	asked, _ := n.requests()
	from := len(f.Log.String())
	for name, address := range map[string]string{
		"none": "", "a blank": " ", "an at alone": "@", "two ats": "ann@eve@example.com", "nobody": "@example.com", "nowhere": "ann@", "no at": "ann.example.com",
		"a header": "ann@example.com\r\nBcc: eve@evil.test", "a header in the name": "ann\r\nBcc:eve@evil.test", "a line end": "ann@example.com\n", "a return": "ann@example.com\r", "a folded line": "ann@example.com\r\n Bcc:x", "NUL": "ann\x00@example.com", "a tab": "ann\t@example.com", "escape": "ann\x1b[2J@example.com", "next line": "ann\u0085@example.com",
		"two with a comma": "ann@example.com,eve@evil.test", "two with a semicolon": "ann@example.com;eve@evil.test", "two with a blank": "ann@example.com eve@evil.test", "a group": "all:ann@example.com;", "two in the name": "eve,ann@example.com", "an encoded comma": "ann%2ceve@evil.test,@example.com",
		"a name": "Ann <ann@example.com>", "a name in quotes": `"Ann" <ann@example.com>`, "angle brackets": "<ann@example.com>", "a comment": "ann(eve@evil.test)@example.com", "a comment behind": "ann@example.com(x)", "a quoted name": `"ann"@example.com`, "a quoted at": `"ann@evil.test"@example.com`, "a backslash": `ann\@example.com`, "a route": "@evil.test:ann@example.com", "an old route": "ann%evil.test@[1.2.3.4]",
		"markup": "<b>ann</b>@example.com", "a script": "<script>alert(1)</script>@example.com", "an attribute": `x"onload="alert(1)@example.com`, "markup in the domain": "ann@<b>.example.com", "a scheme": "mailto:ann@example.com",
		"a machine": "ann@127.0.0.1", "a machine in brackets": "ann@[127.0.0.1]", "a machine of the sixth kind": "ann@[IPv6:::1]", "no dot": "ann@localhost", "a dot last": "ann@example.com.", "two dots": "ann@example..com", "a dot first": ".ann@example.com", "a dash": "ann@-x.example", "an underscore": "ann@ex_ample.com", "a port": "ann@example.com:25", "a path": "ann@example.com/x",
		"a full-width at": "ann\uff20example.com", "a small at": "ann\ufe6bexample.com", "two kinds of at": "ann\uff20evil.test@example.com", "a full-width domain": "ann@\uff45xample.com", "a full-width name": "\uff41nn@example.com", "an ideographic dot": "ann@example\u3002com", "a Kelvin sign": "ann@example.co\u212a", "a ligature": "ann@\ufb01sh.example", "a long s": "ann@example.\u017fe", "a superscript": "ann\u00b2@example.com", "letters and marks apart": "jose\u0301@example.com",
		"an override of direction": "ann\u202e@example.com", "an isolate": "ann\u2066@example.com", "an invisible blank": "ann\u200b@example.com", "a joiner": "ann@exam\u200dple.com", "a soft hyphen": "ann@exam\u00adple.com", "a byte order mark": "\ufeffann@example.com", "a line separator": "ann\u2028@example.com", "a tag": "ann\U000e0041@example.com", "an emoji": "ann\U0001f600@example.com", "a replacement": "ann\ufffd@example.com",
		"a long name": strings.Repeat("a", 65) + "@example.com", "129 bytes": strings.Repeat("a", 60) + "@" + strings.Repeat("b", 60) + ".example", "10 KB": strings.Repeat("a", 10<<10) + "@example.com",
	} {
		a := f.invites(t, invitation(t, address, f.URL+"/mine", ""))
		got := invitationIn(t, a)
		if a.Status != http.StatusBadRequest || got.Error != "bad_request" || got.Field != "email" || got.Link != "" || len(a.Body) > 500 {
			t.Errorf("%s: got %s\n%.500s", name, a, a.Body)
		}
		for _, telling := range []string{"evil", "alert", "<b>", "Bcc", "aaaaaaaaaa"} {
			if strings.Contains(fmt.Sprint(a.Header, a.Body), telling) {
				t.Errorf("%s: the answer repeats %q", name, telling)
			}
		}
	}
	for name, body := range map[string]string{
		"1 MiB": invitation(t, strings.Repeat("a", 1<<20)+"@example.com", f.URL+"/mine", ""), "17 KB": invitation(t, "ann@example.com", f.URL+"/"+strings.Repeat("a", 17<<10), ""),
	} {
		if a := f.invites(t, body); a.Status != http.StatusRequestEntityTooLarge && a.Status != 0 || strings.Contains(a.Body, "aaaa") {
			t.Errorf("%s: got %s\n%.500s", name, a, a.Body)
		}
	}
	if after, _ := n.requests(); after != asked {
		t.Errorf("the issuer was asked for %d tokens, want none", after-asked)
	}
	if log := f.Log.String()[from:]; strings.Contains(log, "evil.test") || strings.Contains(log, "aaaaaaaaaa") {
		t.Error("the log repeats an address that is none")
	}
	// What people do have goes out as one value each time.
	for _, address := range []string{"ann@example.com", "o'hara&sons=x@example.com", "a{{7*7}}|b@example.com", "ann+x%26prompt=none@example.com", "a/b=c?d@example.com", "?x#y@example.com", "jos\u00e9@example.com", "ann@m\u00fcnchen.example", "ann@xn--mnchen-3ya.example"} {
		link := f.link(t, address, "/mine")
		p := way{front: f}.traveller(t)
		a := p.get(t, link)
		q := p.toIssuer(t, a)
		body, _ := n.last()
		if got := q["login_hint"]; len(got) != 1 || got[0] != address || body["email"] != address || len(q["prompt"]) != 1 {
			t.Errorf("%s: the issuer is asked for %v, and %q", address, body, q)
		}
		seeOther(t, p.get(t, p.spend(t, p.present(t, a))), "/mine")
	}
	f.Upstream.Forget()
}

// mailbox keeps what is sent to Mailgun.
type mailbox struct {
	mu    sync.Mutex
	mails []map[string][]string
}

func (m *mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.ParseMultipartForm(1 << 20)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, r.PostForm)
	echo(w, http.StatusOK, map[string]string{"id": "<1@mg.example.com>", "message": "Queued. Thank you."})
}

func (m *mailbox) last(t *testing.T) map[string][]string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mails) == 0 {
		t.Fatal("no mail was sent")
	}
	return m.mails[len(m.mails)-1]
}

func invitationMarkup(t *testing.T, _ *doors) {
	box := &mailbox{}
	s := httptest.NewServer(box)
	t.Cleanup(s.Close)
	f, _ := inviting(t, gatewaytest.Options{
		Routes: strings.Replace(strict, "title: Wiki", `title: "W<b>iki</b> & \"x\" %recipient% {{x}}"`, 1),
		Admin:  `listen: "` + freeAddr(t) + `", token: ` + gatewaytest.AdminToken,
		Extra:  headers + "mailgun: {endpoint: \"" + s.URL + "\", domain: mg.example.com, api_key: " + gatewaytest.Canary + "mailgun, from: \"Wiki <no-reply@mg.example.com>\"}\n",
	})
	for _, address := range []string{"o'hara&lt;sons@example.com", "a{{7*7}}`x`|b@example.com", "%recipient%&amp;x@example.com"} {
		if strings.Contains(address, ";") {
			a := f.invites(t, invitation(t, address, f.URL+"/mine", "")) // no address of people
			if a.Status != http.StatusBadRequest {
				t.Errorf("%s: got %s", address, a)
			}
			address = strings.ReplaceAll(address, ";", "")
		}
		var out, problems bytes.Buffer
		cmd := f.Process.Command("invite", address, "--to", f.URL+"/mine?a=1&b=<i>", "--config", f.Process.File("portero.yaml"))
		cmd.Stdout, cmd.Stderr = &out, &problems
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: portero invite: %v\n%s", address, err, problems.String())
		}
		f.Keep("portero invite", out.String()+problems.String())
		mail := box.last(t)
		for _, name := range []string{"to", "from", "subject", "html", "text"} {
			if len(mail[name]) != 1 || name != "html" && name != "text" && strings.ContainsAny(mail[name][0], "\r\n") {
				t.Fatalf("%s: the mail's %s: got %q, want one line", address, name, mail[name])
			}
		}
		if mail["to"][0] != address && mail["to"][0] != "<"+address+">" || len(mail["cc"])+len(mail["bcc"])+len(mail["recipient-variables"])+len(mail["template"]) != 0 {
			t.Errorf("%s: the mail goes to %q, %q, %q", address, mail["to"], mail["cc"], mail["bcc"])
		}
		page := mail["html"][0]
		if strings.Contains(page, "<b>iki") || !strings.Contains(page, "W&lt;b&gt;iki&lt;/b&gt; &amp;") || strings.Contains(page, `"x"`) {
			t.Errorf("%s: the name of the application is not escaped\n%s", address, page)
		}
		hrefs := links(t, page)
		if len(hrefs) != 1 || !strings.HasPrefix(hrefs[0], f.URL+"/_portero/invitation?i=") || !strings.Contains(mail["text"][0], hrefs[0]) {
			t.Fatalf("%s: the mail leads to %q, want the link alone", address, hrefs)
		}
		if got := mail["o:tracking"]; len(got) != 1 || got[0] != "no" {
			t.Errorf("o:tracking: got %q, want no", got)
		}
		link := strings.TrimPrefix(hrefs[0], f.URL)
		f.Secret(sealedIn(link), "link of an invitation")
		p := way{front: f}.traveller(t)
		p.accept(t, link, "/mine?a=1&b=<i>")
		a := p.get(t, "/_portero/")
		for _, bad := range []string{"<b>iki", "'hara&l", "<i>"} {
			if strings.Contains(a.Body, bad) {
				t.Errorf("%s: the page about oneself has %q", address, bad)
			}
		}
		if a.Status != http.StatusOK || !strings.Contains(a.Body, escapedAddress(address)) {
			t.Errorf("%s: the page about oneself does not show it: %s\n%s", address, a, a.Body)
		}
	}
	f.Upstream.Forget()
}

// escapedAddress is an address as it stands in a page.
func escapedAddress(address string) string {
	return strings.NewReplacer("&", "&amp;", "'", "&#39;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "`", "`").Replace(address)
}

func invitationCanaries(t *testing.T, _ *doors) {
	const whither, address = "whither-a-guest-may-go", "ann.private@example.com"
	trail := filepath.Join(t.TempDir(), "audit.log")
	f, n := inviting(t, gatewaytest.Options{TLS: true, Log: fmt.Sprintf("level: debug, audit_file: %q", trail), Admin: `listen: "` + freeAddr(t) + `", token: ` + gatewaytest.AdminToken})
	link := f.link(t, address, "/mine?"+whither)
	short := f.linkFor(t, address, "/mine?"+whither, "1m")
	for _, h2 := range []bool{false, true} {
		w := way{front: f, h2: h2}
		lines := with(navigation, "Referer", f.URL+link, "Cookie", "app="+gatewaytest.Canary+"cookie", "User-Agent", "Mozilla/5.0 "+gatewaytest.Canary+"agent")
		for name, lines := range unasked {
			w.ask(t, request{Target: link, Lines: lines})
			w.ask(t, request{Target: link + "&" + gatewaytest.Canary + "x=" + strings.ReplaceAll(name, " ", ""), Lines: lines})
		}
		for _, target := range []string{link, short, link + "x", link + "&i=x", "/_portero/invitation/?i=" + sealedIn(link), "/_portero/invitation?i=" + gatewaytest.Canary, "/app?i=" + sealedIn(link), "/callback?code=x&state=" + sealedIn(link), "/sign-in?return_to=" + link, "/_portero/signed-out?state=" + sealedIn(link)} {
			w.ask(t, request{Target: target, Lines: lines})
			w.ask(t, request{Method: "POST", Target: target, Body: "i=" + sealedIn(link), Lines: ownForm})
		}
		p := w.traveller(t)
		p.accept(t, f.link(t, address, "/mine?"+whither), "/mine?"+whither)
		p.get(t, link)
		p.get(t, "/mine?"+whither)
		other := w.bobHere(t)
		other.present(t, other.get(t, link))
	}
	// Inviting fails in every way.
	for _, body := range []string{invitation(t, address+"\r\n"+gatewaytest.Canary, f.URL+"/mine", ""), invitation(t, address, "https://"+gatewaytest.Canary+"evil.test/?"+whither, ""), invitation(t, address, f.URL+"/mine?"+whither, gatewaytest.Canary), `{"email":"` + gatewaytest.Canary, `["` + gatewaytest.Canary + `"]`} {
		f.Keep("the answer to who invites", f.invites(t, body).Body)
	}
	for _, lie := range lies {
		n.lying(t, lie.answer)
		a := f.invites(t, invitation(t, address, f.URL+"/mine?"+whither, ""))
		f.Keep("the answer to who invites", a.Body)
	}
	n.lying(t, nil)
	var problems bytes.Buffer
	cmd := f.Process.Command("invite", address, "--to", f.URL+"/mine?"+whither, "--print", "--config", f.Process.File("portero.yaml"))
	cmd.Stderr = &problems
	printed, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(printed), f.URL+"/_portero/invitation?i=") {
		t.Fatalf("portero invite: %v\n%s%s", err, printed, problems.String())
	}
	f.Secret(sealedIn(strings.TrimSpace(string(printed))), "printed link")
	f.Keep("what portero invite says beside the link", problems.String())

	text, err := os.ReadFile(trail)
	if err != nil {
		t.Fatal(err)
	}
	f.Keep("the audit file", string(text))
	made := 0
	for line := range strings.Lines(string(text)) {
		var e map[string]string
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v\n%s", err, line)
		}
		if e["action"] == "invitation" && e["outcome"] == "made" {
			made++
			if e["path"] != "/mine" || len(e) != 9 {
				t.Errorf("the line of an invitation is %s", line)
			}
		}
	}
	if made < 5 {
		t.Errorf("the audit file has %d lines of invitations, want one for each that was made", made)
	}
	for line := range strings.Lines(f.Log.String()) {
		var e struct{ Msg, Action, Email string }
		if json.Unmarshal([]byte(line), &e); strings.Contains(line, address) && (e.Email != address || strings.Count(line, address) != 1 || e.Action == "") {
			t.Errorf("the address is in a line that is not about the person: %s", line)
		}
	}
	for where, text := range map[string]string{"the log": f.Log.String(), "the audit file": string(text), "the metrics": f.Admin(t, http.MethodGet, "/metrics").Text, "the status": f.Admin(t, http.MethodGet, "/api/status").Text} {
		if i := strings.Index(text, whither); i >= 0 {
			t.Errorf("the query of the page is in %s: …%s…", where, text[max(0, i-200):i+20])
		}
		if strings.Contains(where, "the s") || where == "the metrics" {
			if strings.Contains(text, address) {
				t.Errorf("the address is in %s", where)
			}
		}
	}
}

func strangersInvite(t *testing.T, d *doors) {
	_, f, of := d.Inviting()
	n := of[f]
	asked, _ := n.requests()
	body := invitation(t, "eve@evil.test", f.URL+"/mine", "")
	const bearer = "Authorization: Bearer " + gatewaytest.AdminToken
	ask := func(method, path, host string, lines ...string) *gatewaytest.Answer {
		return f.atAdmin(t, method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\n"+strings.Join(append(lines, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body))), "\r\n")+"\r\n\r\n"+body)
	}
	_, session, _ := strings.Cut(f.alice, "=")
	for name, tt := range map[string]struct {
		method, path, host string
		lines              []string
		want               int
	}{
		"no token":                     {"POST", "/api/invitations", "localhost", nil, 401},
		"an empty token":               {"POST", "/api/invitations", "localhost", []string{"Authorization: Bearer "}, 401},
		"another token":                {"POST", "/api/invitations", "localhost", []string{"Authorization: Bearer " + strings.Repeat("x", 32)}, 401},
		"a part of it":                 {"POST", "/api/invitations", "localhost", []string{bearer[:len(bearer)-1]}, 401},
		"more than it":                 {"POST", "/api/invitations", "localhost", []string{bearer + "x"}, 401},
		"another scheme":               {"POST", "/api/invitations", "localhost", []string{"Authorization: Basic " + gatewaytest.AdminToken}, 401},
		"in the query":                 {"POST", "/api/invitations?token=" + gatewaytest.AdminToken, "localhost", nil, 401},
		"as a cookie":                  {"POST", "/api/invitations", "localhost", []string{"Cookie: token=" + gatewaytest.AdminToken}, 401},
		"a session of an admin":        {"POST", "/api/invitations", "localhost", []string{"Cookie: " + f.alice}, 401},
		"a session as the token":       {"POST", "/api/invitations", "localhost", []string{"Authorization: Bearer " + session}, 401},
		"a rebound name":               {"POST", "/api/invitations", "evil.test", []string{bearer}, 403},
		"the public name":              {"POST", "/api/invitations", "gw.test", []string{bearer}, 403},
		"a name that ends like ours":   {"POST", "/api/invitations", "localhost.evil.test", []string{bearer}, 403},
		"another site":                 {"POST", "/api/invitations", "localhost", []string{bearer, "Sec-Fetch-Site: cross-site"}, 403},
		"a sibling":                    {"POST", "/api/invitations", "localhost", []string{bearer, "Sec-Fetch-Site: same-site"}, 403},
		"the origin of another site":   {"POST", "/api/invitations", "localhost", []string{bearer, "Origin: https://evil.test"}, 403},
		"no origin":                    {"POST", "/api/invitations", "localhost", []string{bearer, "Origin: null"}, 403},
		"by GET":                       {"GET", "/api/invitations", "localhost", []string{bearer}, 405},
		"by PUT":                       {"PUT", "/api/invitations", "localhost", []string{bearer}, 405},
		"a method in a header":         {"GET", "/api/invitations", "localhost", []string{bearer, "X-HTTP-Method-Override: POST"}, 405},
		"a slash behind":               {"POST", "/api/invitations/", "localhost", []string{bearer}, 404},
		"another spelling":             {"POST", "/api/Invitations", "localhost", []string{bearer}, 404},
		"another spelling, no token":   {"POST", "//api/invitations", "localhost", nil, 401},
		"asking first, another origin": {"OPTIONS", "/api/invitations", "localhost", []string{"Origin: https://evil.test", "Access-Control-Request-Method: POST"}, 405},
	} {
		a := ask(tt.method, tt.path, tt.host, tt.lines...)
		if a.Status != tt.want && !(tt.method == "OPTIONS" && (a.Status == 401 || a.Status == 403)) || strings.Contains(a.Body, "invitation?i=") || len(a.Header["Access-Control-Allow-Origin"]) != 0 {
			t.Errorf("%s: got %s, want %d\n%s", name, a, tt.want, a.Body)
		}
	}
	if after, _ := n.requests(); after != asked {
		t.Errorf("the issuer was asked for %d tokens, want none", after-asked)
	}
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		asked, _ := n.requests()
		alice := way{front: w.front, h2: w.h2, cookie: w.front.alice}
		for _, path := range []string{"/api/invitations", "/_portero/api/invitations", "/_portero/invitation", "/_portero/invitations"} {
			for _, v := range []way{w, alice} {
				for _, lines := range [][][2]string{nil, fieldsOf("Authorization", "Bearer "+gatewaytest.AdminToken), fieldsOf("X-Forwarded-For", "127.0.0.1", "X-Forwarded-Host", "localhost")} {
					a := v.ask(t, request{Method: "POST", Target: path, Body: body, Lines: append(fieldsOf("Content-Type", "application/json"), lines...)})
					if strings.Contains(a.Body, "invitation?i=") || a.Status == http.StatusCreated {
						t.Errorf("%s on the public listener: got %s\n%s", path, a, a.Body)
					}
					if path == "/api/invitations" && v.cookie != "" {
						w.Upstream.Forget() // the application's own
						continue
					}
					w.nothingReached(t)
				}
			}
		}
		for _, host := range []string{"localhost", "127.0.0.1"} {
			if a := w.ask(t, request{Method: "POST", Host: host, Target: "/api/invitations", Body: body, Lines: fieldsOf("Content-Type", "application/json", "Authorization", "Bearer "+gatewaytest.AdminToken)}); a.Status != http.StatusMisdirectedRequest {
				t.Errorf("%s on the public listener: got %s, want 421", host, a)
			}
		}
		if after, _ := n.requests(); after != asked {
			t.Errorf("the issuer was asked for %d tokens, want none", after-asked)
		}
	})
	t.Run("the listener for metrics, and no Management API", func(t *testing.T) {
		metrics := freeAddr(t)
		g := unsigned(t, gatewaytest.Options{Admin: `listen: "127.0.0.1:0", token: ` + gatewaytest.AdminToken + `, metrics_listen: "` + metrics + `"`})
		a := askAt(t, metrics, "POST /api/invitations HTTP/1.1\r\nHost: localhost\r\n"+bearer+"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
		if a.Status != http.StatusNotFound {
			t.Errorf("the listener for metrics: got %s, want 404", a)
		}
		if a := g.invites(t, invitation(t, "ann@example.com", g.URL+"/mine", "")); a.Status != http.StatusNotImplemented || strings.Contains(a.Body, "invitation?i=") {
			t.Errorf("without logto.management: got %s\n%s", a, a.Body)
		}
	})
}

func ambiguousInvitations(t *testing.T, d *doors) {
	_, f, of := d.Inviting()
	n := of[f]
	asked, _ := n.requests()
	page := f.URL + "/mine"
	good := invitation(t, "ann@example.com", page, "")
	for name, body := range map[string]string{
		"nothing": "", "a blank": " ", "null": "null", "a list": "[" + good + "]", "a text": `"ann@example.com"`, "a number": "7", "no object": "{", "an object without end": good[:len(good)-1],
		"something behind": good + good, "a line behind": good + "\n{}", "a NUL behind": good + "\x00", "a comment": strings.Replace(good, "{", "{/*x*/", 1), "a comma": strings.Replace(good, "}", ",}", 1), "a byte order mark": "\xef\xbb\xbf" + good, "single quotes": strings.ReplaceAll(good, `"`, "'"),
		"twice": `{"email":"ann@example.com","to":"` + page + `","email":"eve@evil.test"}`, "twice, escaped": `{"email":"ann@example.com","to":"` + page + `","\u0065mail":"eve@evil.test"}`, "the same twice": `{"email":"ann@example.com","email":"ann@example.com","to":"` + page + `"}`, "the page twice": `{"email":"ann@example.com","to":"` + page + `","to":"` + page + `x"}`,
		"in capitals": `{"EMAIL":"ann@example.com","to":"` + page + `"}`, "both": `{"email":"ann@example.com","to":"` + page + `","Email":"eve@evil.test"}`, "a Kelvin sign's kin": `{"email":"ann@example.com","to":"` + page + `","expire\u017f":"30d"}`,
		"an unknown member": `{"email":"ann@example.com","to":"` + page + `","token":"x"}`, "a host": `{"email":"ann@example.com","to":"` + page + `","host":"evil.test"}`, "a list of addresses": `{"email":["ann@example.com","eve@evil.test"],"to":"` + page + `"}`, "an object": `{"email":{"x":1},"to":"` + page + `"}`, "no text": `{"email":"ann@example.com","to":"` + page + `","expires":7}`, "null as a member": `{"email":"ann@example.com","to":"` + page + `","expires":null}`,
		"not UTF-8": `{"email":"ann` + "\xff" + `@example.com","to":"` + page + `"}`, "half a pair": `{"email":"ann\ud800@example.com","to":"` + page + `"}`, "a line end": `{"email":"ann@example.com` + "\n" + `","to":"` + page + `"}`, "deep": strings.Repeat(`{"email":`, 1000) + "1" + strings.Repeat("}", 1000), "deep lists": strings.Repeat("[", 8000),
	} {
		if a := f.invites(t, body); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, `"error": "bad_request"`) || strings.Contains(a.Body, "evil") || strings.Contains(a.Body, "invitation?i=") {
			t.Errorf("%s: got %s\n%s", name, a, a.Body)
		}
	}
	for name, lines := range map[string][]string{
		"a form": {"Content-Type: application/x-www-form-urlencoded"}, "plain text": {"Content-Type: text/plain"}, "no type": {}, "two types": {"Content-Type: application/json, text/plain"}, "something like JSON": {"Content-Type: application/jsonp"}, "a part of many": {"Content-Type: multipart/form-data; boundary=x"}, "a type that is none": {"Content-Type: application/json; charset"},
	} {
		a := f.atAdmin(t, "POST /api/invitations HTTP/1.1\r\n"+strings.Join(append([]string{"Host: localhost", "Authorization: Bearer " + gatewaytest.AdminToken, fmt.Sprintf("Content-Length: %d", len(good))}, lines...), "\r\n")+"\r\n\r\n"+good)
		if a.Status != http.StatusUnsupportedMediaType {
			t.Errorf("%s: got %s, want 415\n%s", name, a, a.Body)
		}
	}
	a := f.atAdmin(t, "POST /api/invitations?to=https://evil.test HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+gatewaytest.AdminToken+fmt.Sprintf("\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(good))+good)
	if a.Status != http.StatusBadRequest {
		t.Errorf("a query: got %s, want 400\n%s", a, a.Body)
	}
	if after, _ := n.requests(); after != asked {
		t.Errorf("the issuer was asked for %d tokens, want none", after-asked)
	}
	if a := f.invites(t, good); a.Status != http.StatusCreated {
		t.Errorf("what all of them began as: got %s\n%s", a, a.Body)
	}
}

// lies are answers to a request for a one-time token that make none, or a strange one.
var lies = map[string]struct {
	answer func(w http.ResponseWriter)
	want   int
}{
	"an error":                {says(400, `{"code":"guard.invalid_input","message":"`+gatewaytest.Canary+`"}`), 502},
	"no right":                {says(403, `{"message":"`+gatewaytest.Canary+`"}`), 502},
	"nothing there":           {says(404, `{"message":"`+gatewaytest.Canary+`"}`), 502},
	"too many":                {says(429, gatewaytest.Canary), 503},
	"trouble":                 {says(500, gatewaytest.Canary), 503},
	"a page":                  {says(201, "<html>"+gatewaytest.Canary), 502},
	"no token":                {says(201, `{"id":"`+gatewaytest.Canary+`"}`), 502},
	"an empty token":          {says(201, `{"id":"t","token":""}`), 502},
	"a token of another sort": {says(201, `{"id":"t","token":["`+gatewaytest.Canary+`"]}`), 502},
	"a huge token":            {says(201, `{"id":"t","token":"`+strings.Repeat(gatewaytest.Canary, 1000)+`"}`), 502},
	"JSON that breaks off":    {says(201, `{"id":"t","token":"`+gatewaytest.Canary), 502},
	"much too much":           {says(201, `{"id":"t","x":"`+strings.Repeat(gatewaytest.Canary, 1<<20)+`","token":"x"}`), 502},
}

// says is an answer with that status and body.
func says(status int, body string) func(w http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func lyingInviter(t *testing.T, d *doors) {
	d.invited(t, func(t *testing.T, w way, n *inviter) {
		for name, lie := range lies {
			n.lying(t, lie.answer)
			a := w.invites(t, invitation(t, "ann@example.com", w.URL+"/mine", ""))
			got := invitationIn(t, a)
			if a.Status != lie.want && !(lie.want == 502 && a.Status == 503) || got.Link != "" || strings.Contains(fmt.Sprint(a.Header, a.Body), gatewaytest.Canary) {
				t.Errorf("%s: got %s, want %d and nothing of what the issuer says\n%s", name, a, lie.want, a.Body)
			}
		}
		// A token that would be more than one parameter, or a header, is one parameter.
		for _, token := range []string{"x&prompt=none&login_hint=eve@evil.test", "x#fragment", "x\r\nSet-Cookie: x=1", "x y+z%26", `"><script>alert(1)</script>`, "\u202e\u0000", "https://evil.test/"} {
			text, err := json.Marshal(token)
			if err != nil {
				t.Fatal(err)
			}
			n.lying(t, says(201, `{"tenantId":"default","id":"t","email":"eve@evil.test","token":`+string(text)+`,"context":{},"status":"active","createdAt":1,"expiresAt":2}`))
			link := w.link(t, "ann@example.com", "/mine")
			p := w.traveller(t)
			a := p.get(t, link)
			q := p.toIssuer(t, a)
			if got := q["one_time_token"]; len(got) != 1 || got[0] != token || len(q["prompt"]) != 1 || len(q["login_hint"]) != 1 || q.Get("login_hint") != "ann@example.com" {
				t.Errorf("%q: the issuer is asked %q", token, q)
			}
			if p.cookies["x"] != "" || strings.ContainsAny(a.Header.Get("Location"), "\r\n <>\"") {
				t.Errorf("%q: it made a header, or stands in one as it is: %q", token, a.Header)
			}
		}
	})
}
