package catalogue_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

func addresses(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for _, tt := range []struct {
		email    string
		verified any
		want     string // the header; "": none
		corp     bool   // of the domain that /corp is for
	}{
		{"a@corp.com", true, "a@corp.com", true},
		{"A.B+c@CORP.COM", true, "a.b+c@corp.com", true},
		{"a@evil@corp.com", true, "", false},
		{`"a@corp.com"@evil.test`, true, "", false},
		{`"a@corp.com@evil.test"`, true, "", false},
		{"a@corp.com@evil.test", true, "", false},
		{"a@evil.test,b@corp.com", true, "", false},
		{"a@evil.test\x00@corp.com", true, "", false},
		{"a@evilcorp.com", true, "a@evilcorp.com", false},
		{"a@x.corp.com", true, "a@x.corp.com", false},
		{"a@corp.com.evil.test", true, "a@corp.com.evil.test", false},
		{"a@corp.com.", true, "a@corp.com.", false},
		{"@corp.com", true, "", false},
		{"a@", true, "", false},
		{"corp.com", true, "", false},
		{" a@corp.com", true, "", false},
		{"a@corp.com\n", true, "", false},
		{"a@corp.com evil", true, "", false},
		{"a@\u0441orp.com", true, "", false}, // a Cyrillic es: no printable ASCII, so it is left out
		{"a@xn--orp-5cd.com", true, "a@xn--orp-5cd.com", false},
		{"a@corp\u3002com", true, "", false},
		{"a@ⓒorp.com", true, "", false},
		{"a@corp.com", false, "", false},
		{"a@corp.com", "true", "", false},
		{"a@corp.com", 1, "", false},
		{"a@corp.com", nil, "", false},
		{strings.Repeat("a", 400) + "@corp.com", true, "", false},
	} {
		head := w.told(t, map[string]any{"email": tt.email, "email_verified": tt.verified})
		want := []string{tt.want}
		if tt.want == "" {
			want = nil
		}
		exactly(t, head, "X-Auth-Email", want...)
		a := w.as(t, map[string]any{"email": tt.email, "email_verified": tt.verified}).ask(t, request{Target: "/corp"})
		if status := map[bool]int{true: 200, false: 403}[tt.corp]; a.Status != status {
			t.Errorf("%q, verified %v: got %s, want %d", tt.email, tt.verified, a, status)
		}
		if !tt.corp {
			w.nothingReached(t)
		}
		w.Upstream.Forget()
	}
	// Two addresses are none, unless the text says that it is one.
	w.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Edit = func(claims map[string]any) { claims["email"] = []string{"a@corp.com", "b@evil.test"} }
	})
	absent(t, w.told(t, nil), "X-Auth-Email")

	open := claimFront(t, "\ninsecure: [unverified-email]\n")
	exactly(t, open.told(t, map[string]any{"email": "A@corp.com", "email_verified": false}), "X-Auth-Email", "a@corp.com")
	absent(t, open.told(t, map[string]any{"email": "a@evil@corp.com", "email_verified": false}), "X-Auth-Email")
}

func lookalikes(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for _, tt := range []struct {
		target, claim string
		values        []any
		status        int
	}{
		{"/admin", "roles", []any{[]string{"Admin"}, []string{"ADMIN"}, []string{"ADMİN"}, []string{"\u0430dmin"}, []string{"admın"}, []string{"ａdmin"}, []string{"a\u0301dmin"}, []string{"admin\u200b"}, []string{"administrator"}, []string{"admi"}, "Admin"}, 403},
		{"/admin", "roles", []any{[]string{"admin"}}, 200},
		{"/user", "username", []any{"Admin", "ADMİN", "\u0430dmin", "admın", "admin\u200b", " admin", "admin ", "admin\x00", []string{"admin"}, map[string]any{"admin": true}}, 403},
		{"/user", "username", []any{"admin"}, 200},
		{"/person", "email", []any{"adm\u0131n@corp.com", "ADMİN@corp.com", "\u0430dmin@corp.com", "admin+x@corp.com", "ad.min@corp.com", "admin@corp.co\u2126"}, 403},
		{"/person", "email", []any{"admin@corp.com", "Admin@Corp.com"}, 200},
	} {
		for _, v := range tt.values {
			a := w.as(t, map[string]any{tt.claim: v}).ask(t, request{Target: tt.target})
			if a.Status != tt.status {
				t.Errorf("%s %s=%q: got %s, want %d", tt.target, tt.claim, v, a, tt.status)
			}
			if tt.status == http.StatusForbidden {
				w.nothingReached(t)
			}
			w.Upstream.Forget()
		}
	}
	// Two spellings of a text are two people: each has their own subject and sessions, and ends nobody else's.
	names := []string{"Jos\u00e9", "Jose\u0301", "jos\u00e9", "mallory", "Mallory", "MALLORY", "m\u0430llory"}
	for _, sub := range names {
		head := w.told(t, map[string]any{"sub": sub, "name": sub})
		if sub[0] == 'J' || sub[0] == 'j' || strings.Contains(sub, "\u0430") {
			absent(t, head, "X-Auth-Sub") // left out, not folded
			continue
		}
		exactly(t, head, "X-Auth-Sub", sub)
	}
	mallory := w.as(t, map[string]any{"sid": "sid-m"})
	token := w.Issuer.LogoutToken(func(_, claims map[string]any) { claims["sub"] = "Mallory"; delete(claims, "sid") })
	if resp := w.Logout(t, token); resp.StatusCode != http.StatusOK {
		t.Fatalf("ending Mallory's sessions: got %s, want 200", resp.Status)
	}
	if a := mallory.ask(t, request{Target: "/_portero/session"}); a.Status != http.StatusOK || !strings.Contains(a.Body, `"mallory"`) {
		t.Errorf("mallory, after Mallory was signed out: got %s with %s, want her session", a, a.Body)
	}
}

func reservedTargets(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	file := w.Process.File("refused.yaml")
	text, err := os.ReadFile(w.Process.File("portero.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "identity:")
	refuse := func(headers string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(before+"identity:\n  headers:\n"+headers), 0o600); err != nil {
			t.Fatal(err)
		}
		var said string
		for _, command := range []string{"check", "serve"} {
			out, err := w.Process.Command(command, "--config", file).CombinedOutput()
			if err == nil {
				t.Errorf("%s takes the configuration, want a refusal:\n%s", command, headers)
			}
			said = string(out)
			if strings.Contains(said, "listening on") {
				t.Errorf("%s listens before it refuses", command)
			}
		}
		return said
	}
	reserved := []string{
		"Host", "Content-Length", "Transfer-Encoding", "Connection", "Cookie", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "X-Request-Id", "Forwarded",
		"Upgrade", "TE", "Trailer", "Keep-Alive", "Proxy-Authorization", "Proxy", "Authorization", "Set-Cookie", "Via", "Expect", "Content-Type", "content_length", "transfer.encoding", "X_Forwarded_For", "cOOkIE",
		"Sec-Fetch-Site", "Accept", "Origin", "Referer", "If-None-Match", "Range", "X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Portero-Assertion",
	}
	var list strings.Builder
	for _, name := range reserved {
		fmt.Fprintf(&list, "    - {name: %q, claim: sub}\n", name)
	}
	said := refuse(list.String())
	for i, name := range reserved {
		if !strings.Contains(said, fmt.Sprintf("identity.headers[%d].name: ", i)) {
			t.Errorf("%s: nothing is said about it", name)
		}
	}
	// Two claims for one header, as careful and as careless readers see them; and what is no name, or would split the line.
	for _, pair := range [][2]string{{"X-Auth-A", "X-Auth-A"}, {"X-Auth-A", "x-auth-a"}, {"X-Auth-A", "X_Auth_A"}, {"X-Auth-A", "X-Auth.A"}, {"X-Auth-A", "X-Auth_A"}} {
		said := refuse(fmt.Sprintf("    - {name: %q, claim: sub}\n    - {name: %q, claim: email}\n", pair[0], pair[1]))
		if !strings.Contains(said, "identity.headers[1].name: ") {
			t.Errorf("%q: got %s", pair, said)
		}
	}
	for _, name := range []string{"", " ", "X Auth", "X-Auth:", "X-Auth\r\nHost", "X-Auth\x00", "X-Auth-ñ", ":path"} {
		if said := refuse(fmt.Sprintf("    - {name: %q, claim: sub}\n", name)); !strings.Contains(said, "identity.headers[0].name: ") && !strings.Contains(said, "refused.yaml") {
			t.Errorf("%q: got %s", name, said)
		}
	}
}

func templates(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	for _, v := range []string{
		"${env.CATALOGUE_WORD}", "${CATALOGUE_WORD}", "$CATALOGUE_WORD", "%CATALOGUE_WORD%", "{env.CATALOGUE_WORD}", "{{.CATALOGUE_WORD}}", `{{env "CATALOGUE_WORD"}}`, "{{.Secret}}", "{http.request.header.Cookie}",
		"%s%n", "%!s(MISSING)", "%d", "$(id)", "`id`", "#{7*7}", "<%= 7*7 %>", "{{7*7}}", "{sub}", "${sub}", "%{sub}", "\\n\\r", "\\u000d\\u000aX: y",
	} {
		head := w.told(t, map[string]any{"custom_data": map[string]any{"v": v}, "name": v, "roles": []string{v}})
		exactly(t, head, "X-Auth-V", v)
		exactly(t, head, "X-Auth-Roles", v)
		undone(t, head, v)
	}
	// Nor in the configuration: a name is a name.
	named := way{front: unsigned(t, gatewaytest.Options{TLS: true, Routes: claimRoutes, Env: []string{"CATALOGUE_WORD=sub"}, Extra: `
identity:
  headers:
    - {name: X-Auth-Sub, claim: sub}
    - {name: X-Auth-V, claim: "${CATALOGUE_WORD}"}
    - {name: X-Auth-Percent, claim: "{{env.CATALOGUE_WORD}}"}
`})}
	head := named.told(t, nil)
	exactly(t, head, "X-Auth-Sub", "mallory")
	absent(t, head, "X-Auth-V", "X-Auth-Percent")
}

func displayNames(t *testing.T, _ *doors) {
	w := claimFront(t, "")
	text, err := os.ReadFile(w.Process.File("portero.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), "identity:")
	file := w.Process.File("names.yaml")
	for _, tt := range []struct {
		name, claim string
		warned      bool
	}{
		{"Remote-User", "name", true}, {"X-Forwarded-User", "username", true}, {"X-WEBAUTH-USER", "name", true}, {"x_remote_user", "nickname", true},
		{"Remote-User", "sub", false}, {"Remote-User", "email", false}, {"X-Auth-Name", "name", false},
	} {
		if err := os.WriteFile(file, []byte(before+fmt.Sprintf("identity: {headers: [{name: %s, claim: %s}]}\n", tt.name, tt.claim)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := w.Process.Command("check", "--config", file).CombinedOutput()
		if err != nil {
			t.Errorf("%s from %s: check refuses: %v\n%s", tt.name, tt.claim, err, out)
		}
		if got := strings.Contains(string(out), "people may change themselves"); got != tt.warned {
			t.Errorf("%s from %s: warned %t, want %t\n%s", tt.name, tt.claim, got, tt.warned, out)
		}
	}
	// With an address as the account, a name is the name and nothing else.
	plain := way{front: unsigned(t, gatewaytest.Options{TLS: true, Routes: claimRoutes, Extra: "\nidentity: {headers: [{name: Remote-User, claim: [email, username]}, {name: Remote-Name, claim: name}]}\n"})}
	w = plain.as(t, map[string]any{"name": "root", "username": "root", "nickname": "root", "preferred_username": "root", "user": "root"})
	if a := w.ask(t, request{Lines: fieldsOf("Remote-User", "root", "REMOTE_USER", "root")}); a.Status != http.StatusOK {
		t.Fatalf("got %s, want 200", a)
	}
	head, _ := w.reached(t)
	exactly(t, head, "Remote-User", "mallory@example.com")
	exactly(t, head, "Remote-Name", "root")
}
