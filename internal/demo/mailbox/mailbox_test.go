package mailbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mailgun/mailgun-go/v5"

	"portero/internal/demo/mailbox"
)

const key = "demo-key"

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newMailbox(t testing.TB) (*mailbox.Mailbox, http.Handler, *clock) {
	t.Helper()
	c := &clock{at: time.Date(2026, 11, 22, 7, 40, 0, 0, time.UTC)}
	m := mailbox.New(mailbox.Config{Domain: "mg.example.com", APIKey: key, Now: c.now})
	return m, m.Handler(), c
}

func form(fields ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		v.Add(fields[i], fields[i+1])
	}
	return v
}

func post(h http.Handler, path, user, password, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Host = "127.0.0.1:3002"
	r.Header.Set("Content-Type", kind)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func send(t testing.TB, h http.Handler, fields ...string) {
	t.Helper()
	w := post(h, "/v3/mg.example.com/messages", "api", key, "application/x-www-form-urlencoded", form(fields...).Encode())
	if w.Code != 200 {
		t.Fatalf("sending %q: got %d %s", fields, w.Code, w.Body)
	}
}

func get(h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = "127.0.0.1:3002"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := form("from", "a@mg.example.com", "to", "b@example.com", "subject", "s", "text", "t").Encode()
	const urlencoded = "application/x-www-form-urlencoded"
	tests := []struct {
		name, path, user, key, kind, body string
		want                              int
	}{
		{"no authorization", "/v3/mg.example.com/messages", "", "", urlencoded, good, 401},
		{"wrong key", "/v3/mg.example.com/messages", "api", "other", urlencoded, good, 401},
		{"empty key", "/v3/mg.example.com/messages", "api", "", urlencoded, good, 401},
		{"wrong user", "/v3/mg.example.com/messages", "root", key, urlencoded, good, 401},
		{"other domain", "/v3/other.example.com/messages", "api", key, urlencoded, good, 404},
		{"no sender", "/v3/mg.example.com/messages", "api", key, urlencoded, form("to", "b@example.com", "text", "t").Encode(), 400},
		{"no recipient", "/v3/mg.example.com/messages", "api", key, urlencoded, form("from", "a@mg.example.com", "text", "t").Encode(), 400},
		{"no address", "/v3/mg.example.com/messages", "api", key, urlencoded, form("from", "a@mg.example.com", "to", "somebody", "text", "t").Encode(), 400},
		{"too many recipients", "/v3/mg.example.com/messages", "api", key, urlencoded, form("from", "a@mg.example.com", "to", strings.TrimSuffix(strings.Repeat("b@example.com,", 21), ","), "text", "t").Encode(), 400},
		{"empty mail", "/v3/mg.example.com/messages", "api", key, urlencoded, form("from", "a@mg.example.com", "to", "b@example.com").Encode(), 400},
		{"broken multipart", "/v3/mg.example.com/messages", "api", key, "multipart/form-data; boundary=x", "--x\r\n", 400},
		{"JSON", "/v3/mg.example.com/messages", "api", key, "application/json", "{}", 400},
		{"too large", "/v3/mg.example.com/messages", "api", key, urlencoded, good + "&html=" + strings.Repeat("a", mailbox.MaxMail), 413},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, h, _ := newMailbox(t)
			w := post(h, test.path, test.user, test.key, test.kind, test.body)
			if w.Code != test.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, test.want)
			}
			if got := m.Messages(""); len(got) != 0 {
				t.Errorf("kept %d mails, want none", len(got))
			}
		})
	}
	t.Run("no key configured", func(t *testing.T) {
		t.Parallel()
		h := mailbox.New(mailbox.Config{}).Handler()
		if w := post(h, "/v3/mg.example.com/messages", "api", "", urlencoded, good); w.Code != 401 {
			t.Errorf("got %d, want 401", w.Code)
		}
	})
}

// A web site that points its own name at this machine reads nothing.
func TestForeignHostIsRefused(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	for host, want := range map[string]int{
		"evil.test": 421, "evil.test:3002": 421, "localhost.evil.test": 421, "": 421,
		"127.0.0.1:3002": 200, "localhost:3002": 200, "LOCALHOST": 200, "[::1]:3002": 200, "[::1]": 200,
	} {
		r := httptest.NewRequest("GET", "/api/messages", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %q: got %d, want %d", host, w.Code, want)
		}
	}
}

func TestURLEncoded(t *testing.T) {
	t.Parallel()
	_, h, c := newMailbox(t)
	// As Logto's connector sends it.
	w := post(h, "/v3/mg.example.com/messages", "api", key, "application/x-www-form-urlencoded",
		"from=Test+%3Cno-reply%40mg.example.com%3E&to=Who%40example.com&subject=Generic+000000&html=%3Cp%3EGeneric+code+%3Cb%3E000000%3C%2Fb%3E%3C%2Fp%3E&text=Generic+code+000000")
	var answer struct{ ID, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatalf("got %d %s, %v", w.Code, w.Body, err)
	}
	if answer.Message != "Queued. Thank you." || !strings.HasSuffix(answer.ID, "@mg.example.com>") {
		t.Errorf("got %+v, want Mailgun's answer", answer)
	}
	w = get(h, "/api/messages?to=who@example.com")
	if got, want := w.Header().Get("Content-Type"), "application/json; charset=utf-8"; got != want {
		t.Errorf("content type: got %s, want %s", got, want)
	}
	var got []map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"to": "Who@example.com", "from": "Test <no-reply@mg.example.com>", "subject": "Generic 000000", "text": "Generic code 000000",
		"html": "<p>Generic code <b>000000</b></p>", "code": "000000", "received_at": c.at.Format(time.RFC3339),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// What the gateway's own client sends, over the wire.
func TestMailgunClient(t *testing.T) {
	t.Parallel()
	m, h, _ := newMailbox(t)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client := mailgun.NewMailgun(key)
	if err := client.SetAPIBase(server.URL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	plain := mailgun.NewMessage("mg.example.com", "Demo <no-reply@mg.example.com>", "048213 is your code", "Your code is 048213.", "a@example.com")
	plain.SetHTML("<p>048213</p>")
	if _, err := client.Send(ctx, plain); err != nil {
		t.Fatal(err)
	}
	template := mailgun.NewMessage("mg.example.com", "no-reply@mg.example.com", "Welcome", "", "b@example.com")
	template.SetTemplate("welcome")
	if err := template.AddTemplateVariable("code", "987654"); err != nil {
		t.Fatal(err)
	}
	answer, err := client.Send(ctx, template)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Message != "Queued. Thank you." || answer.ID == "" {
		t.Errorf("got %+v, want Mailgun's answer", answer)
	}
	want := []mailbox.Mail{
		{To: "b@example.com", From: "no-reply@mg.example.com", Subject: "Welcome", Code: "987654"},
		{To: "a@example.com", From: "Demo <no-reply@mg.example.com>", Subject: "048213 is your code", Text: "Your code is 048213.", HTML: "<p>048213</p>", Code: "048213"},
	}
	if diff := cmp.Diff(want, m.Messages(""), cmpopts.IgnoreUnexported(mailbox.Mail{}), cmpopts.IgnoreFields(mailbox.Mail{}, "ReceivedAt")); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if page := get(h, "/").Body.String(); !strings.Contains(page, "987654") || !strings.Contains(page, "<bdi>welcome</bdi>") {
		t.Errorf("page lacks the template or its code:\n%s", page)
	}
}

func TestMessagesByAddress(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	if got := strings.TrimSpace(get(h, "/api/messages?to=a@example.com").Body.String()); got != "[]" {
		t.Errorf("empty mailbox: got %s, want []", got)
	}
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "text", "first")
	send(t, h, "from", "x@mg.example.com", "to", "Bee <b@example.com>, a@example.com", "text", "both")
	send(t, h, "from", "x@mg.example.com", "to", "a+tag@example.com", "text", "tagged")
	tests := []struct {
		query string
		want  []string
	}{
		{"?to=a@example.com", []string{"both", "first"}},
		{"?to=A@EXAMPLE.COM", []string{"both", "first"}},
		{"?to=b@example.com", []string{"both"}},
		{"?to=a%2Btag@example.com", []string{"tagged"}},
		{"?to=example.com", nil},
		{"", []string{"tagged", "both", "both", "first"}},
	}
	for _, test := range tests {
		var mails []mailbox.Mail
		if err := json.Unmarshal(get(h, "/api/messages"+test.query).Body.Bytes(), &mails); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, one := range mails {
			got = append(got, one.Text)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("messages%s (-want +got):\n%s", test.query, diff)
		}
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		fields []string
		want   string
	}{
		{"subject", []string{"subject", "123456 is your code", "text", "x"}, "123456"},
		{"leading zero", []string{"subject", "s", "text", "code: 000123."}, "000123"},
		{"variable before subject", []string{"subject", "order 111111", "template", "t", "h:X-Mailgun-Variables", `{"code":"222222"}`}, "222222"},
		{"a number as variable", []string{"template", "t", "h:X-Mailgun-Variables", `{"code":222222}`}, "222222"},
		{"variables that are no JSON", []string{"subject", "123456", "template", "t", "h:X-Mailgun-Variables", `{`}, "123456"},
		{"v: variable", []string{"template", "t", "v:code", "333333"}, "333333"},
		{"only in the HTML", []string{"html", `<style>p{color:#444444}</style><p style="color:#555555">your code <b>666666</b></p>`}, "666666"},
		{"seven digits are no code", []string{"text", "1234567"}, ""},
		{"five digits are no code", []string{"text", "12345"}, ""},
		{"other digits are no code", []string{"text", "１２３４５６"}, ""},
		{"none", []string{"text", "hello"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, h, _ := newMailbox(t)
			send(t, h, append([]string{"from", "x@mg.example.com", "to", "a@example.com"}, test.fields...)...)
			if got := m.Messages("")[0].Code; got != test.want {
				t.Errorf("code: got %q, want %q", got, test.want)
			}
		})
	}
}

func TestOldestGoFirst(t *testing.T) {
	t.Parallel()
	m, h, _ := newMailbox(t)
	for i := range mailbox.MaxMails + 3 {
		send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "text", fmt.Sprint(i))
	}
	got := m.Messages("")
	if len(got) != mailbox.MaxMails || got[0].Text != "202" || got[len(got)-1].Text != "3" {
		t.Errorf("got %d mails from %s to %s, want %d from 202 to 3", len(got), got[0].Text, got[len(got)-1].Text, mailbox.MaxMails)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	_, h, c := newMailbox(t)
	tests := []struct {
		name, target, accept, lang string
		want                       []string
	}{
		{"English", "/", "", "en", []string{"<h1>Mailbox</h1>", "Demonstration: runs on this computer only and forgets everything when it stops.", "No mail yet. Codes arrive here.", `<a href="?lang=es" lang="es" hreflang="es">Español</a>`}},
		{"Spanish", "/", "es-419,en;q=0.5", "es", []string{"<h1>Buzón</h1>", "Demostración: funciona solo en este equipo y lo olvida todo al detenerse.", "Todavía no hay correo. Los códigos llegan aquí."}},
		{"chosen", "/?lang=es", "en", "es", []string{"<h1>Buzón</h1>"}},
		{"unknown language", "/?lang=%00", "xx", "en", []string{"<h1>Mailbox</h1>"}},
		{"a huge list of languages", "/", strings.Repeat("es,", 100000), "en", []string{"<h1>Mailbox</h1>"}},
	}
	for _, test := range tests {
		w := get(h, test.target, "Accept-Language", test.accept)
		if got := w.Header().Get("Content-Language"); w.Code != 200 || got != test.lang {
			t.Errorf("%s: got %d in %q, want 200 in %q", test.name, w.Code, got, test.lang)
		}
		for _, piece := range append(test.want, `<html lang="`+test.lang+`">`) {
			if !strings.Contains(w.Body.String(), piece) {
				t.Errorf("%s: page lacks %s", test.name, piece)
			}
		}
		if strings.Contains(w.Body.String(), "http-equiv") {
			t.Errorf("%s: page refreshes itself", test.name)
		}
	}

	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "subject", "111111 is your code", "text", "one")
	c.at = c.at.Add(3 * time.Minute)
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "subject", "222222 is your code", "text", "two", "html", "<script>alert(1)</script>")
	page := get(h, "/").Body.String()
	first, second := strings.Index(page, `<p class="code">222222</p>`), strings.Index(page, `<p class="code">111111</p>`)
	if first < 0 || second < first {
		t.Errorf("codes stand at %d and %d, want the newest first:\n%s", first, second, page)
	}
	for _, piece := range []string{
		`<p id="empty" hidden>`, `<bdi>a<wbr>@example.com</bdi>`, `<time datetime="2026-11-22T07:40:00Z">3 minutes ago</time>`, `just now</time>`,
		`<details><summary>Text</summary><pre>one</pre></details>`, `aria-live="polite"`, `<iframe sandbox src="/messages/2/html"`,
	} {
		if !strings.Contains(page, piece) {
			t.Errorf("page lacks %s:\n%s", piece, page)
		}
	}
	if strings.Contains(page, "alert(1)") {
		t.Errorf("page holds a mail's HTML")
	}
	if page := get(h, "/?lang=es").Body.String(); !strings.Contains(page, "hace 3 minutos") || !strings.Contains(page, "ahora mismo") {
		t.Errorf("Spanish page lacks Spanish times:\n%s", page)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	long := strings.Repeat("ñ", 81)
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "subject", long, "text", long)
	page := get(h, "/").Body.String()
	if !strings.Contains(page, "<bdi>"+strings.Repeat("ñ", 80)+"…</bdi>") || !strings.Contains(page, "<pre>"+long+"</pre>") {
		t.Errorf("want the subject cut at 80 characters and the text whole:\n%s", page)
	}
}

func TestMarkupIsEscaped(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	const attack = `"><img src=x onerror=alert(1)></pre></details>`
	send(t, h, "from", attack, "to", "a@example.com", "subject", attack, "text", attack, "html", attack, "template", attack, "h:X-Mailgun-Variables", attack)
	if page := get(h, "/").Body.String(); strings.Contains(page, "<img") {
		t.Errorf("markup of a mail got into the page:\n%s", page)
	}
}

func TestPoliciesAndStyle(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "html", `<p>hello</p><script src="https://evil.test"></script>`)
	w := get(h, "/")
	_, style, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := w.Header().Get("Content-Security-Policy")
	if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"; !strings.Contains(policy, want) {
		t.Errorf("policy %q does not have the style sheet's hash, want %s", policy, want)
	}
	if len(style) > 5<<10 {
		t.Errorf("style sheet: got %d bytes, want at most 5 KiB", len(style))
	}
	for _, word := range []string{"unsafe", "*", "data:"} {
		if strings.Contains(policy, word) {
			t.Errorf("policy %q has %s", policy, word)
		}
	}
	frame := get(h, "/messages/1/html")
	if got := frame.Body.String(); !strings.Contains(got, "<p>hello</p>") {
		t.Errorf("frame: got %q, want the mail's HTML", got)
	}
	got := frame.Header().Get("Content-Security-Policy")
	for _, want := range []string{"sandbox;", "default-src 'none'", "form-action 'none'", "frame-ancestors 'self'"} {
		if !strings.Contains(got, want) {
			t.Errorf("policy of the frame %q lacks %s", got, want)
		}
	}
	for _, path := range []string{"/messages/2/html", "/messages/0/html", "/messages/-1/html", "/messages/x/html", "/messages/1", "/other"} {
		if w := get(h, path); w.Code != 404 {
			t.Errorf("%s: got %d, want 404", path, w.Code)
		}
	}
	for _, path := range []string{"/", "/messages/1/html", "/api/messages", "/refresh.js"} {
		w := get(h, path)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s of %s: got %q, want %q", name, path, got, want)
			}
		}
	}
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	t.Parallel()
	_, h, c := newMailbox(t)
	tag := get(h, "/").Header().Get("ETag")
	if w := get(h, "/", "If-None-Match", tag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("unchanged: got %d with %d bytes, want 304 with none", w.Code, w.Body.Len())
	}
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "text", "t")
	w := get(h, "/", "If-None-Match", tag)
	if w.Code != 200 {
		t.Errorf("after new mail: got %d, want 200", w.Code)
	}
	tag = w.Header().Get("ETag")
	c.at = c.at.Add(time.Minute)
	if w := get(h, "/", "If-None-Match", tag); w.Code != 200 {
		t.Errorf("a minute later: got %d, want 200 with the new time", w.Code)
	}
}

func TestOtherMethods(t *testing.T) {
	t.Parallel()
	_, h, _ := newMailbox(t)
	for _, target := range []string{"POST /", "DELETE /api/messages", "GET /v3/mg.example.com/messages"} {
		method, path, _ := strings.Cut(target, " ")
		r := httptest.NewRequest(method, path, nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 405 {
			t.Errorf("%s: got %d, want 405", target, w.Code)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("from=a&to=a@example.com&subject=123456&text=t"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\na@example.com\r\n--x--"))
	f.Add("application/x-www-form-urlencoded", []byte("from=%ff&to=a@example.com&html=<style>&h:X-Mailgun-Variables=[]"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		m := mailbox.New(mailbox.Config{APIKey: key})
		h := m.Handler()
		r := httptest.NewRequest("POST", "/v3/mg.example.com/messages", bytes.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", kind)
		r.SetBasicAuth("api", key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("got %d for %q", w.Code, body)
		}
		if got := len(m.Messages("")) > 0; got != (w.Code == 200) {
			t.Fatalf("answer %d, mail kept: %v", w.Code, got)
		}
		page := get(h, "/")
		if page.Code != 200 {
			t.Fatalf("page after %q: got %d", body, page.Code)
		}
		if data, err := io.ReadAll(get(h, "/api/messages").Body); err != nil || !json.Valid(data) {
			t.Fatalf("messages after %q: got %q, %v", body, data, err)
		}
	})
}

// Senders who look at their domain, in Mailgun's own words for it.
func TestDomain(t *testing.T) {
	t.Parallel()
	_, h, c := newMailbox(t)
	server := httptest.NewServer(h)
	defer server.Close()
	client := func(key string) *mailgun.Client {
		mg := mailgun.NewMailgun(key)
		if err := mg.SetAPIBase(server.URL); err != nil {
			t.Fatal(err)
		}
		return mg
	}
	got, err := client(key).GetDomain(t.Context(), "mg.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := got.Domain
	if d.Name != "mg.example.com" || d.State != "active" || d.IsDisabled || d.Type != "custom" || d.SMTPLogin != "postmaster@mg.example.com" || d.SMTPPassword != "" ||
		!time.Time(d.CreatedAt).Equal(c.at) {
		t.Errorf("got %+v", d)
	}
	if len(got.SendingDNSRecords) != 3 || len(got.ReceivingDNSRecords) != 2 {
		t.Fatalf("records: got %+v and %+v", got.SendingDNSRecords, got.ReceivingDNSRecords)
	}
	for _, r := range append(got.SendingDNSRecords, got.ReceivingDNSRecords...) {
		if r.Valid != "valid" || !r.Active || r.Value == "" || (r.RecordType == "MX") != (r.Name == "") {
			t.Errorf("got the record %+v", r)
		}
	}
	for name, tt := range map[string]struct {
		key, domain string
		want        int
	}{"wrong key": {"other", "mg.example.com", 401}, "other domain": {key, "other.example.com", 404}} {
		_, err := client(tt.key).GetDomain(t.Context(), tt.domain, nil)
		if got := mailgun.GetStatusFromErr(err); got != tt.want {
			t.Errorf("%s: got %d, want %d", name, got, tt.want)
		}
	}
	if w := get(h, "/v4/domains/mg.example.com"); w.Code != 401 || strings.Contains(w.Body.String(), "postmaster") {
		t.Errorf("without a key: got %d %s, want 401", w.Code, w.Body)
	}
	if w := get(h, "/v3/domains/mg.example.com", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("api:"+key))); w.Code != 200 {
		t.Errorf("version 3: got %d, want 200", w.Code)
	}
	if w := get(h, "/v4/domains/mg.example.com", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("root:"+key))); w.Code != 401 {
		t.Errorf("another user: got %d, want 401", w.Code)
	}
}
