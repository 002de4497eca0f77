package mail_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mailgun/mailgun-go/v5/events"
	"github.com/mailgun/mailgun-go/v5/mocks"

	"portero/internal/mail"
)

// sent is a mail on its way to Mailgun.
type sent struct {
	Line, Authorization string
	Form                map[string]string
}

// recorder takes every call to Mailgun's mock, whatever host it is for, and notes it: the mock keeps few of the fields.
type recorder struct {
	mock *mocks.Server
	to   *url.URL

	mu  sync.Mutex
	all []sent
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	mock := mocks.NewServer()
	t.Cleanup(mock.Stop)
	to, err := url.Parse(mock.URL())
	if err != nil {
		t.Fatal(err)
	}
	return &recorder{mock: mock, to: to}
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, err := fields(req.Header.Get("Content-Type"), body)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.all = append(r.all, sent{req.Method + " " + req.URL.String() + " HTTP/1.1", req.Header.Get("Authorization"), form})
	r.mu.Unlock()
	out := req.Clone(req.Context())
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.URL.Scheme, out.URL.Host, out.Host = r.to.Scheme, r.to.Host, ""
	return http.DefaultTransport.RoundTrip(out)
}

func (r *recorder) last(t *testing.T) sent {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		t.Fatal("nothing was sent")
	}
	return r.all[len(r.all)-1]
}

// accepted are the addresses and subjects of the mails that the mock took.
func (r *recorder) accepted() map[string]string {
	out := map[string]string{}
	for _, e := range r.mock.Events() {
		if a, ok := e.(*events.Accepted); ok && a.Recipient != "" {
			out[a.Recipient] = a.Message.Headers.Subject
		}
	}
	return out
}

func fields(kind string, body []byte) (map[string]string, error) {
	_, params, err := mime.ParseMediaType(kind)
	if err != nil {
		return nil, err
	}
	form := map[string]string{}
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := parts.NextPart()
		if err == io.EOF {
			return form, nil
		}
		if err != nil {
			return nil, err
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		form[part.FormName()] += string(value)
	}
}

// Both regions, by the endpoint as it is configured and the origin that is called.
var regions = map[string]string{"": "https://api.mailgun.net", "https://api.eu.mailgun.net": "https://api.eu.mailgun.net"}

// What Logto's own connector sent for these deliveries was recorded, of two of its versions. What is sent here has the same
// fields and no other; it is multipart where the connector's is not, which Mailgun takes alike.
func TestSameFieldsAsTheRecordedConnector(t *testing.T) {
	t.Parallel()
	d, err := mail.NewDeliveries("", []mail.Delivery{
		{Usage: mail.SignIn, Subject: "Sign-in {{code}}", HTML: "<p>SignIn code <b>{{code}}</b></p>", Text: "SignIn code {{code}}"},
		{Usage: mail.Generic, Subject: "Generic {{code}}", HTML: "<p>{{code}}</p>", Text: "{{code}}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/connector/*.json")
	if err != nil || len(files) != 2 {
		t.Fatalf("recordings: got %v and error %v, want two", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var recorded []struct {
			Line, Authorization string
			Form                [][2]string
		}
		if err := json.Unmarshal(text, &recorded); err != nil || len(recorded) == 0 {
			t.Fatalf("%s: %v", file, err)
		}
		for endpoint, origin := range regions {
			mailgun := newRecorder(t)
			m, err := mail.New(mail.Config{
				Endpoint: endpoint, Domain: "mg.example.com", APIKey: "key-test", From: "Test <no-reply@mg.example.com>", Client: &http.Client{Transport: mailgun},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recorded {
				want := sent{"POST " + origin + strings.TrimPrefix(r.Line, "POST "), r.Authorization, map[string]string{}}
				for _, field := range r.Form {
					want.Form[field[0]] = field[1]
				}
				usage, subject := mail.Generic, want.Form["subject"]
				if strings.HasPrefix(subject, "Sign-in") {
					usage = mail.SignIn
				}
				if err := m.Send(t.Context(), d.Message(usage, want.Form["to"], subject[len(subject)-6:])); err != nil {
					t.Errorf("%s %s: %v", file, endpoint, err)
					continue
				}
				if diff := cmp.Diff(want, mailgun.last(t)); diff != "" {
					t.Errorf("%s %s (-recorded +sent):\n%s", file, endpoint, diff)
				}
				if got := mailgun.accepted()[want.Form["to"]]; got != subject {
					t.Errorf("%s %s: the mock took subject %q, want %q", file, endpoint, got, subject)
				}
			}
		}
	}
}

// What was not recorded: reply addresses, templates, HTML alone, every usage and its fallback.
func TestFieldsOfEveryDelivery(t *testing.T) {
	t.Parallel()
	content := func(usage string) mail.Delivery {
		return mail.Delivery{Usage: usage, Subject: usage + " {{code}}", HTML: "<p>" + usage + " {{code}}</p>", Text: usage + " {{code}}"}
	}
	bare := mail.Delivery{Usage: mail.SignIn, Subject: "Sign in", HTML: "<p>{{code}}</p>", ReplyTo: "Help <help@example.com>"}
	template := mail.Delivery{Usage: mail.Register, Subject: "Welcome", Template: "welcome", ReplyTo: "help@example.com", Variables: []mail.Variable{{Name: "brand", Value: `A "B"`}}}
	plain := mail.Delivery{Usage: mail.ForgotPassword, Subject: "Forgot", Template: "forgot"}
	of := func(usage string) map[string]string {
		return map[string]string{"subject": usage + " 048213", "html": "<p>" + usage + " 048213</p>", "text": usage + " 048213"}
	}
	welcome := map[string]string{"subject": "Welcome", "template": "welcome", "h:Reply-To": "help@example.com", "h:X-Mailgun-Variables": `{"brand":"A \"B\"","code":"048213"}`}
	tests := []struct {
		name string
		list []mail.Delivery
		want map[string]map[string]string // :: usage → fields, without from and to
	}{
		{"content", []mail.Delivery{content(mail.Register), content(mail.SignIn), content(mail.ForgotPassword), content(mail.Generic)}, map[string]map[string]string{
			mail.Register: of(mail.Register), mail.SignIn: of(mail.SignIn), mail.ForgotPassword: of(mail.ForgotPassword), mail.Generic: of(mail.Generic),
		}},
		{"Generic alone", []mail.Delivery{content(mail.Generic)}, map[string]map[string]string{
			mail.Register: of(mail.Generic), mail.SignIn: of(mail.Generic), mail.ForgotPassword: of(mail.Generic), mail.Generic: of(mail.Generic),
		}},
		{"html alone, and templates", []mail.Delivery{bare, template, plain, content(mail.Generic)}, map[string]map[string]string{
			mail.SignIn:         {"subject": "Sign in", "html": "<p>048213</p>", "h:Reply-To": "Help <help@example.com>"},
			mail.Register:       welcome,
			mail.ForgotPassword: {"subject": "Forgot", "template": "forgot", "h:X-Mailgun-Variables": `{"code":"048213"}`},
		}},
		{"a Generic template", []mail.Delivery{{Usage: mail.Generic, Subject: "Welcome", Template: "welcome", ReplyTo: "help@example.com", Variables: template.Variables}}, map[string]map[string]string{
			mail.SignIn: welcome, mail.Generic: welcome,
		}},
	}
	for endpoint, origin := range regions {
		for _, test := range tests {
			d, err := mail.NewDeliveries("", test.list)
			if err != nil {
				t.Fatal(err)
			}
			mailgun := newRecorder(t)
			m := newMailer(t, endpoint, &http.Client{Transport: mailgun})
			for usage, fields := range test.want {
				one, err := d.Configured(usage)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Send(t.Context(), one.Message("Who@Example.com", code)); err != nil {
					t.Errorf("%s, %s: %v", test.name, usage, err)
					continue
				}
				want := map[string]string{"from": "Example <no-reply@mg.example.com>", "to": "Who@Example.com"}
				maps.Copy(want, fields)
				got := mailgun.last(t)
				if diff := cmp.Diff(want, got.Form); diff != "" {
					t.Errorf("%s, %s (-want +got):\n%s", test.name, usage, diff)
				}
				if want := "POST " + origin + "/v3/mg.example.com/messages HTTP/1.1"; got.Line != want {
					t.Errorf("%s, %s: got %q, want %q", test.name, usage, got.Line, want)
				}
			}
		}
	}
}
