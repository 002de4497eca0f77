package mail_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mailgun/mailgun-go/v5/events"
	"github.com/mailgun/mailgun-go/v5/mocks"

	"portero/internal/mail"
)

// Canaries: no error may hold one of them.
const (
	key  = "key-canary-5f3a"
	code = "048213"
	body = "canary-body"
)

func newMailer(t testing.TB, endpoint string, client *http.Client) *mail.Mailer {
	t.Helper()
	m, err := mail.New(mail.Config{Endpoint: endpoint, Domain: "mg.example.com", APIKey: key, From: "Example <no-reply@mg.example.com>", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func message() mail.Message {
	return mail.Message{To: "Who@Example.com", Subject: code + " is your code", Text: body + " " + code, HTML: "<p>" + body + "</p>"}
}

func withoutSecrets(t *testing.T, err error) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, canary := range []string{key, code, body, "a2V5", "Basic"} {
			if strings.Contains(text, canary) {
				t.Errorf("error %q holds %q", text, canary)
			}
		}
	}
}

func TestAgainstMailgunsMock(t *testing.T) {
	t.Parallel()
	server := mocks.NewServer()
	t.Cleanup(server.Stop)
	if err := newMailer(t, server.URL(), nil).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for _, e := range server.Events() {
		if a, ok := e.(*events.Accepted); ok && a.Recipient == "Who@Example.com" {
			accepted++
			if got, want := a.Message.Headers.Subject, code+" is your code"; got != want {
				t.Errorf("subject: got %q, want %q", got, want)
			}
			if got, want := a.Message.Headers.From, "Example <no-reply@mg.example.com>"; got != want {
				t.Errorf("from: got %q, want %q", got, want)
			}
		}
	}
	if accepted != 1 {
		t.Errorf("accepted mails: got %d, want 1", accepted)
	}
}

func TestWireForm(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		message mail.Message
		want    map[string][]string
	}{
		{
			"content",
			mail.Message{To: "Who@Example.com", Subject: "a · ñ", Text: "text", HTML: "<p>html</p>", ReplyTo: "help@example.com"},
			map[string][]string{
				"from": {"Example <no-reply@mg.example.com>"}, "to": {"Who@Example.com"}, "subject": {"a · ñ"}, "text": {"text"},
				"html": {"<p>html</p>"}, "h:Reply-To": {"help@example.com"},
			},
		},
		{
			"template",
			mail.Message{To: "who@example.com", Subject: "Welcome", Template: "welcome", Variables: map[string]string{"brand": `A "B"`, "code": code}},
			map[string][]string{
				"from": {"Example <no-reply@mg.example.com>"}, "to": {"who@example.com"}, "subject": {"Welcome"},
				"template": {"welcome"}, "h:X-Mailgun-Variables": {`{"brand":"A \"B\"","code":"048213"}`},
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var line, user, password string
			var got map[string][]string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				line = r.Method + " " + r.RequestURI
				user, password, _ = r.BasicAuth()
				if err := r.ParseMultipartForm(1 << 20); err != nil {
					t.Error(err)
				}
				got = maps.Clone(r.MultipartForm.Value)
				io.WriteString(w, `{"id":"<1@mg.example.com>","message":"Queued. Thank you."}`)
			}))
			t.Cleanup(server.Close)
			if err := newMailer(t, server.URL+"/sink.mailgun.net", nil).Send(t.Context(), test.message); err != nil {
				t.Fatal(err)
			}
			if want := "POST /v3/mg.example.com/messages"; line != want {
				t.Errorf("request line: got %q, want %q", line, want)
			}
			if user != "api" || password != key {
				t.Errorf("authorization: got %q with %q, want api with the key", user, password)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		kind   string // content type
		want   error
		says   string
	}{
		{"queued", 200, "application/json", nil, ""},
		{"any success is one, whatever it says", 201, "text/plain", nil, ""},
		{"no content", 204, "", nil, ""},
		{"a web site is not the API", 200, "text/html; charset=utf-8", mail.ErrRefused, "web page"},
		{"wrong key", 401, "text/plain", mail.ErrRefused, "api_key"},
		{"forbidden", 403, "application/json", mail.ErrRefused, "api_key"},
		{"unknown domain", 404, "application/json", mail.ErrRefused, "mg.example.com"},
		{"bad parameter", 400, "application/json", mail.ErrRefused, "not accepted"},
		{"too many", 429, "application/json", mail.ErrUnavailable, "too many"},
		{"trouble", 500, "text/html", mail.ErrUnavailable, "trouble"},
		{"gateway trouble", 503, "text/html", mail.ErrUnavailable, "trouble"},
		{"redirect", 307, "text/plain", mail.ErrRefused, "redirect"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				echo, _ := io.ReadAll(r.Body)
				w.Header().Set("Location", "/elsewhere?"+code)
				if test.kind != "" {
					w.Header().Set("Content-Type", test.kind)
				}
				w.WriteHeader(test.status)
				if test.status != 204 {
					fmt.Fprintf(w, "%s %s %s", echo, key, code) // the worst: everything comes back
				}
			}))
			t.Cleanup(server.Close)
			err := newMailer(t, server.URL, nil).Send(t.Context(), message())
			if calls != 1 {
				t.Errorf("calls: got %d, want 1", calls)
			}
			if !errors.Is(err, test.want) {
				t.Fatalf("answer %d: got error %v, want %v", test.status, err, test.want)
			}
			if err == nil {
				return
			}
			withoutSecrets(t, err)
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("answer %d: got error %q, want it to say %q", test.status, err, test.says)
			}
			var e *mail.Error
			if !errors.As(err, &e) || test.status != 200 && e.Status != test.status {
				t.Errorf("answer %d: got %+v, want the status in it", test.status, e)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	err := newMailer(t, server.URL, nil).Send(t.Context(), message())
	if !errors.Is(err, mail.ErrUnavailable) {
		t.Fatalf("got error %v, want ErrUnavailable", err)
	}
	withoutSecrets(t, err)
	if !strings.Contains(err.Error(), "refused") {
		t.Errorf("got error %q, want the system's word in it", err)
	}
}

func TestUnknownName(t *testing.T) {
	t.Parallel()
	err := newMailer(t, "http://mail.invalid", nil).Send(t.Context(), message())
	if !errors.Is(err, mail.ErrUnavailable) {
		t.Fatalf("got error %v, want ErrUnavailable", err)
	}
	withoutSecrets(t, err)
}

func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	err := newMailer(t, server.URL, nil).Send(t.Context(), message())
	if !errors.Is(err, mail.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Fatalf("got error %v, want ErrUnavailable that names the certificate", err)
	}
	withoutSecrets(t, err)
}

func TestConnectionBreaks(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(server.Close)
	err := newMailer(t, server.URL, nil).Send(t.Context(), message())
	if !errors.Is(err, mail.ErrUnavailable) {
		t.Fatalf("got error %v, want ErrUnavailable", err)
	}
	withoutSecrets(t, err)
}

// silent is Mailgun on a bad day: it takes the request and says nothing.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, fmt.Errorf("%w: %s %s %s", context.Cause(r.Context()), key, code, body)
}

func TestSlowServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		client *http.Client
		within time.Duration // of the context; 0: none
		want   time.Duration
	}{
		{"the client's own deadline", &http.Client{Transport: silent{}, Timeout: 3 * time.Second}, 0, 3 * time.Second},
		{"a client without one gets ours", &http.Client{Transport: silent{}}, 0, mail.Timeout},
		{"the context's", &http.Client{Transport: silent{}}, time.Second, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.within > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.within)
					defer cancel()
				}
				start := time.Now()
				err := newMailer(t, "https://api.mailgun.net", test.client).Send(ctx, message())
				if !errors.Is(err, mail.ErrUnavailable) || !strings.Contains(err.Error(), "in time") {
					t.Errorf("got error %v, want ErrUnavailable that says the time was up", err)
				}
				withoutSecrets(t, err)
				if got := time.Since(start); got != test.want {
					t.Errorf("gave up after %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := newMailer(t, "https://api.mailgun.net", &http.Client{Transport: silent{}}).Send(ctx, message())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want it to be context.Canceled", err)
	}
	withoutSecrets(t, err)
}

func TestMessagesThatCannotBeSent(t *testing.T) {
	t.Parallel()
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	t.Cleanup(server.Close)
	m := newMailer(t, server.URL, nil)
	tests := map[string]func(*mail.Message){
		"no recipient":                 func(m *mail.Message) { m.To = "" },
		"two recipients":               func(m *mail.Message) { m.To = "a@example.com, b@example.com" },
		"no address":                   func(m *mail.Message) { m.To = "somebody" },
		"a header in the recipient":    func(m *mail.Message) { m.To = "a@example.com\r\nBcc: b@example.com" },
		"a header in the subject":      func(m *mail.Message) { m.Subject = "a\r\nBcc: b@example.com" },
		"a header in the reply":        func(m *mail.Message) { m.ReplyTo = "a@example.com\nBcc: b@example.com" },
		"a reply to nobody":            func(m *mail.Message) { m.ReplyTo = "nobody" },
		"nothing in it":                func(m *mail.Message) { m.Text, m.HTML = "", "" },
		"template and content at once": func(m *mail.Message) { m.Template = "welcome" },
	}
	for name, change := range tests {
		msg := message()
		change(&msg)
		err := m.Send(t.Context(), msg)
		if !errors.Is(err, mail.ErrMessage) {
			t.Errorf("%s: got error %v, want ErrMessage", name, err)
			continue
		}
		withoutSecrets(t, err)
	}
	if calls != 0 {
		t.Errorf("calls: got %d, want none", calls)
	}
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	good := mail.Config{Domain: "mg.example.com", APIKey: key, From: "no-reply@mg.example.com"}
	if _, err := mail.New(good); err != nil {
		t.Fatalf("New(%v): %v", good, err)
	}
	tests := map[string]func(*mail.Config){
		"endpoint without scheme": func(c *mail.Config) { c.Endpoint = "api.mailgun.net" },
		"endpoint with a key":     func(c *mail.Config) { c.Endpoint = "https://api:" + key + "@api.mailgun.net" },
		"endpoint of files":       func(c *mail.Config) { c.Endpoint = "file:///etc/passwd" },
		"no domain":               func(c *mail.Config) { c.Domain = "" },
		"domain with a path":      func(c *mail.Config) { c.Domain = "mg.example.com/x" },
		"domain that climbs":      func(c *mail.Config) { c.Domain = ".." },
		"no key":                  func(c *mail.Config) { c.APIKey = "" },
		"key with a newline":      func(c *mail.Config) { c.APIKey = key + "\n" },
		"no sender":               func(c *mail.Config) { c.From = "" },
		"sender without address":  func(c *mail.Config) { c.From = "Example" },
	}
	for name, change := range tests {
		cfg := good
		change(&cfg)
		m, err := mail.New(cfg)
		if err == nil {
			t.Errorf("%s: got %v, want an error", name, m)
			continue
		}
		withoutSecrets(t, err)
	}
}

func TestPrintingShowsNoKey(t *testing.T) {
	t.Parallel()
	cfg := mail.Config{Domain: "mg.example.com", APIKey: key, From: "a@example.com"}
	m := newMailer(t, "", nil)
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", cfg, &cfg, m)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "config", cfg, "mailer", m)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "config", cfg, "mailer", m)
	data, err := json.Marshal(cfg) //lint:ignore SA1026 the client of this configuration is nil
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	if got := out.String(); strings.Contains(got, key) || strings.Contains(got, fmt.Sprintf("%x", key)) {
		t.Errorf("printed: %s", got)
	}
}

func TestDefaultMail(t *testing.T) {
	t.Parallel()
	d, err := mail.NewDeliveries("Wiki & Co", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range mail.Usages() {
		got := d.Message(usage, "a@example.com", code)
		want := mail.Message{
			To:      "a@example.com",
			Subject: "048213 is your code · 048213 es tu código",
			Text: "Your code for Wiki & Co is 048213. It is good for ten minutes. If you did not ask for it, you can ignore this message. / " +
				"Tu código para Wiki & Co es 048213. Sirve durante diez minutos. Si no lo has pedido, puedes ignorar este mensaje.",
			HTML: got.HTML,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", usage, diff)
		}
		for _, piece := range []string{
			`font-size:2rem;line-height:1.25">048213</p>`,
			"Your code for Wiki &amp; Co is 048213. It is good for ten minutes. If you did not ask for it, you can ignore this message.",
			`<p lang="es" style="margin:0">Tu código para Wiki &amp; Co es 048213. Sirve durante diez minutos. Si no lo has pedido, puedes ignorar este mensaje.</p>`,
		} {
			if !strings.Contains(got.HTML, piece) {
				t.Errorf("%s: html lacks %s:\n%s", usage, piece, got.HTML)
			}
		}
		for _, piece := range []string{"<img", "<a ", "href", "src=", "http:", "https:", "url(", "{{"} {
			if strings.Contains(got.HTML, piece) {
				t.Errorf("%s: html has %s", usage, piece)
			}
		}
	}
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	d, err := mail.NewDeliveries("Wiki", []mail.Delivery{
		{Usage: mail.SignIn, Subject: "{{code}} for {{brand}}", HTML: "<p>{{ code }} {{brand}} {{other}} {{{code}}}</p>", Text: "{{code}} {{brand}} {{", ReplyTo: "help@example.com", Variables: []mail.Variable{{Name: "brand", Value: "A&B {{code}}"}}},
		{Usage: mail.Register, Subject: "Welcome", Template: "welcome", Variables: []mail.Variable{{Name: "brand", Value: "A&B"}, {Name: "code", Value: "never"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		usage string
		want  mail.Message
	}{
		{mail.SignIn, mail.Message{
			To: "a@example.com", Subject: "048213 for A&B {{code}}", ReplyTo: "help@example.com", Text: "048213 A&B {{code}} {{",
			HTML: "<p>048213 A&amp;B {{code}} {{other}} {048213}</p>",
		}},
		{mail.Register, mail.Message{To: "a@example.com", Subject: "Welcome", Template: "welcome", Variables: map[string]string{"brand": "A&B", "code": code}}},
	}
	for _, test := range tests {
		if diff := cmp.Diff(test.want, d.Message(test.usage, "a@example.com", code)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.usage, diff)
		}
	}
	if got := d.Message(mail.ForgotPassword, "a@example.com", code).Subject; !strings.Contains(got, "es tu código") {
		t.Errorf("a usage that is not configured: got subject %q, want the default", got)
	}
	generic, err := mail.NewDeliveries("Wiki", []mail.Delivery{{Usage: mail.Generic, Subject: "generic {{code}}", HTML: "{{code}}"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range append(slices.Clone(mail.Usages()), "BindMfa") {
		if got := generic.For(usage).Subject; got != "generic {{code}}" {
			t.Errorf("%s with a Generic delivery: got subject %q, want Generic's", usage, got)
		}
	}
}

func TestConfiguredDeliveries(t *testing.T) {
	t.Parallel()
	own := mail.Delivery{Usage: mail.SignIn, Subject: "own {{code}}", HTML: "{{code}}"}
	generic := mail.Delivery{Usage: mail.Generic, Subject: "generic {{code}}", HTML: "{{code}}"}
	tests := []struct {
		name, usage string
		list        []mail.Delivery
		want        string // of the subject; "": ErrNoDelivery
	}{
		{"neither its own nor Generic", mail.Register, []mail.Delivery{own}, ""},
		{"Generic itself is not there", mail.Generic, []mail.Delivery{own}, ""},
		{"its own", mail.SignIn, []mail.Delivery{generic, own}, "own {{code}}"},
		{"Generic stands in", mail.Register, []mail.Delivery{own, generic}, "generic {{code}}"},
		{"nothing at all is configured", mail.Register, nil, mail.Default(mail.Register, "Wiki").Subject},
	}
	for _, test := range tests {
		d, err := mail.NewDeliveries("Wiki", test.list)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Configured(test.usage)
		if test.want == "" {
			if !errors.Is(err, mail.ErrNoDelivery) || !strings.Contains(err.Error(), test.usage) || !strings.Contains(err.Error(), "mailgun.deliveries") {
				t.Errorf("%s: got %+v and error %v, want ErrNoDelivery that names the usage and the key", test.name, got, err)
			}
			continue
		}
		if err != nil || got.Subject != test.want {
			t.Errorf("%s: got subject %q and error %v, want %q", test.name, got.Subject, err, test.want)
		}
	}
}

func TestBadDeliveries(t *testing.T) {
	t.Parallel()
	ok := mail.Delivery{Usage: mail.SignIn, HTML: "{{code}}"}
	tests := map[string][]mail.Delivery{
		"unknown usage":        {{Usage: "signin", HTML: "{{code}}"}},
		"no usage":             {{HTML: "{{code}}"}},
		"twice":                {ok, ok},
		"nothing":              {{Usage: mail.SignIn, Text: "{{code}}"}},
		"both":                 {{Usage: mail.SignIn, HTML: "{{code}}", Template: "x"}},
		"no code":              {{Usage: mail.SignIn, HTML: "<p>Hello</p>"}},
		"line break in header": {{Usage: mail.SignIn, HTML: "{{code}}", Subject: "a\r\nb"}},
	}
	for name, list := range tests {
		if _, err := mail.NewDeliveries("Wiki", list); err == nil || !strings.HasPrefix(err.Error(), "deliveries[") {
			t.Errorf("%s: got error %v, want one that names the delivery", name, err)
		}
	}
}

// The whole way: the message of a delivery passes the checks of Send.
func TestDeliveryIsSent(t *testing.T) {
	t.Parallel()
	server := mocks.NewServer()
	t.Cleanup(server.Stop)
	m := newMailer(t, server.URL(), nil)
	d, err := mail.NewDeliveries("Wiki", []mail.Delivery{{Usage: mail.Register, Subject: "Welcome", Template: "welcome"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range mail.Usages() {
		if err := m.Send(t.Context(), d.Message(usage, "a@example.com", code)); err != nil {
			t.Errorf("%s: %v", usage, err)
		}
	}
}

func FuzzDelivery(f *testing.F) {
	f.Add("{{code}}", "123456")
	f.Add("{{{{code}}}}", "{{code}}")
	f.Add("{{ code", "1")
	f.Fuzz(func(t *testing.T, text, code string) {
		d, err := mail.NewDeliveries("x", []mail.Delivery{{Usage: mail.Generic, HTML: "{{code}}", Text: text}})
		if err != nil {
			return
		}
		got := d.Message(mail.Generic, "a@example.com", code)
		if !strings.Contains(text, "{{") && got.Text != text {
			t.Errorf("text without a name: got %q, want %q", got.Text, text)
		}
		if strings.ContainsAny(got.HTML, `<>"'`) {
			t.Errorf("code %q: got html %q, want it escaped", code, got.HTML)
		}
	})
}
