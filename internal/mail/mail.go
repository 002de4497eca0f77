// Package mail sends e-mail through Mailgun's HTTP API.
//
// It owns one message on its way to Mailgun ([Mailer]), how the sending domain stands there ([DomainState]) and the mails that
// carry one-time codes ([Deliveries], with the default texts). It does not own codes, and it retries nothing: whoever asked for
// a mail can ask again.
//
// Invariants:
//   - No error, and nothing printed of a Mailer or Config, holds the API key, a code, or any part of a mail or of Mailgun's
//     answer, which may quote the mail.
//   - A call ends by its context or after [Timeout], follows no redirect (which would carry key and mail elsewhere) and keeps
//     no answer. Of what Mailgun says about a domain only words from a list and domain names are kept.
//   - A message has exactly one recipient, and no field of it can add a header.
//
// Specifications: Mailgun's Messages API, POST /v3/DOMAIN/messages, and Domains API, GET /v4/domains/DOMAIN; RFC 5322 section
// 3.4 (addresses).
package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	netmail "net/mail"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mailgun/mailgun-go/v5"
)

// Timeout is the longest one call to Mailgun takes when the Client has no timeout of its own.
const Timeout = 10 * time.Second

// ErrUnavailable is returned by Send and Domain when Mailgun could not be reached, answered too late, or said that it cannot
// answer now (429 and 5xx): trying again later may help.
var ErrUnavailable = errors.New("the mail service does not answer")

// ErrRefused is returned by Send when Mailgun will not take the mail, and by Send and Domain when something else than Mailgun
// answers: the configuration has to change.
var ErrRefused = errors.New("the mail service refused the mail")

// ErrMessage is returned by Send when the message itself cannot be sent, before anything leaves.
var ErrMessage = errors.New("the mail cannot be sent as it is")

// Error is what went wrong between us and Mailgun. It is ErrUnavailable or ErrRefused.
type Error struct {
	Host   string // host of the endpoint
	Status int    // Mailgun's answer, 0 for none
	Cause  string // in words, without anything from the mail or the answer

	doing string // what was tried
	kind  error
	other error // a context's error
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s: %s answered %d: %s", e.doing, e.Host, e.Status, e.Cause)
	}
	return fmt.Sprintf("%s at %s: %s", e.doing, e.Host, e.Cause)
}

func (e *Error) Unwrap() []error {
	if e.other != nil {
		return []error{e.kind, e.other}
	}
	return []error{e.kind}
}

// Config is an account at Mailgun.
type Config struct {
	// Endpoint is the API's origin; a path is dropped, as Logto's connector drops it. Empty: https://api.mailgun.net.
	Endpoint string
	// Domain is the sending domain.
	Domain string
	// APIKey is the sending key. It is never printed.
	APIKey string `json:"-"`
	// From is the sender, with or without a display name.
	From string
	// Client makes the calls; it is copied and follows no redirects whatever it says. Nil: a client with Timeout.
	Client *http.Client
	// Other is the origin where Domain looks for a domain that is not at Endpoint. Empty: Mailgun's other region, or none
	// where Endpoint is no region of Mailgun's.
	Other string
}

// Format keeps the API key out of everything that prints a Config.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mailgun %s as %s", c.Endpoint, c.Domain)
}

// Mailer sends messages from one sender over one Mailgun domain. It is safe for concurrent use.
type Mailer struct {
	client *mailgun.Client
	other  *mailgun.Client // nil: there is no other region
	host   string
	domain string
	from   string
}

// Format keeps the API key out of everything that prints a Mailer.
func (m *Mailer) Format(f fmt.State, _ rune) {
	if m == nil {
		io.WriteString(f, "no mailer")
		return
	}
	fmt.Fprintf(f, "mailgun %s as %s", m.host, m.domain)
}

// New checks cfg and returns a Mailer. It makes no call.
func New(cfg Config) (*Mailer, error) {
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = mailgun.APIBase
	}
	here, err := origin(endpoint)
	if err != nil {
		return nil, err
	}
	other := cfg.Other
	if other == "" {
		other = regions[here]
	}
	if other != "" {
		if other, err = origin(other); err != nil {
			return nil, err
		}
	}
	switch {
	case !validDomain(cfg.Domain):
		return nil, fmt.Errorf("mailgun.domain: %q is not a domain name; write the sending domain, such as mg.example.com", cfg.Domain)
	case strings.TrimSpace(cfg.APIKey) == "":
		return nil, errors.New("mailgun.api_key: missing")
	case strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("mailgun.api_key: has characters that no key has")
	}
	if _, err := netmail.ParseAddress(cfg.From); err != nil || hasControl(cfg.From) {
		return nil, fmt.Errorf(`mailgun.from: %q is not an address; write "Name <no-reply@%s>"`, cfg.From, cfg.Domain)
	}

	hc := &http.Client{}
	if cfg.Client != nil {
		*hc = *cfg.Client
	}
	if hc.Timeout == 0 {
		hc.Timeout = Timeout
	}
	hc.Jar = nil
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	next := hc.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	hc.Transport = answers{next: next}

	m := &Mailer{host: strings.SplitAfter(here, "://")[1], domain: cfg.Domain, from: cfg.From}
	if m.client, err = newClient(cfg.APIKey, here, hc); err != nil {
		return nil, err
	}
	if other != "" {
		if m.other, err = newClient(cfg.APIKey, other, hc); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// regions has Mailgun's two. :: origin → the other one
var regions = map[string]string{mailgun.APIBaseUS: mailgun.APIBaseEU, mailgun.APIBaseEU: mailgun.APIBaseUS}

// origin reads an endpoint and drops its path.
func origin(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("mailgun.endpoint: not an http or https URL; write https://api.mailgun.net or https://api.eu.mailgun.net")
	case u.User != nil:
		return "", errors.New("mailgun.endpoint: has a user or password; the key belongs into api_key")
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

func newClient(key, origin string, hc *http.Client) (*mailgun.Client, error) {
	client := mailgun.NewMailgun(key)
	if err := client.SetAPIBase(origin); err != nil {
		return nil, errors.New("mailgun.endpoint: has a version; write the origin alone")
	}
	client.SetHTTPClient(hc)
	return client, nil
}

// Message is one mail to one person: content of its own, or a template stored at Mailgun.
type Message struct {
	To      string // as typed; exactly one address
	Subject string
	Text    string
	HTML    string
	ReplyTo string // empty: none
	// Template is the name of a template at Mailgun; Text and HTML are then empty.
	Template string
	// Variables are for the template.
	Variables map[string]string
	// Untracked keeps Mailgun from writing its own links over those of the mail and counting who follows them, whatever
	// the domain's settings. false: the domain's settings count.
	Untracked bool
}

// Send gives the message to Mailgun. Errors are ErrMessage, ErrUnavailable or ErrRefused.
func (m *Mailer) Send(ctx context.Context, msg Message) error {
	if err := check(msg); err != nil {
		return err
	}
	plain := mailgun.NewMessage(m.domain, m.from, msg.Subject, msg.Text, msg.To)
	if msg.HTML != "" {
		plain.SetHTML(msg.HTML)
	}
	if msg.ReplyTo != "" {
		plain.SetReplyTo(msg.ReplyTo)
	}
	if msg.Untracked {
		plain.SetTracking(false)
	}
	if msg.Template != "" {
		plain.SetTemplate(msg.Template)
		for name, value := range msg.Variables {
			if err := plain.AddTemplateVariable(name, value); err != nil {
				return fmt.Errorf("%w: template variable %q", ErrMessage, name)
			}
		}
	}
	if _, err := m.client.Send(ctx, content{plain}); err != nil {
		return m.explain(ctx, sending, m.host, err)
	}
	return nil
}

// content is a message as Logto's connector writes it: what is empty is left out. The library always writes a text, and an
// empty one could stand for that of a template.
type content struct{ *mailgun.PlainMessage }

// AddValues writes the fields. The library begins with from, subject and text.
func (c content) AddValues(p *mailgun.FormDataPayload) {
	at := len(p.Values)
	c.PlainMessage.AddValues(p)
	if c.Text() == "" {
		p.Values = slices.Delete(p.Values, at+2, at+3)
	}
	if c.Subject() == "" {
		p.Values = slices.Delete(p.Values, at+1, at+2)
	}
}

func check(msg Message) error {
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrMessage, what) }
	if _, err := netmail.ParseAddress(msg.To); err != nil || hasControl(msg.To) {
		return bad("the recipient is not one address")
	}
	if msg.ReplyTo != "" {
		if _, err := netmail.ParseAddress(msg.ReplyTo); err != nil || hasControl(msg.ReplyTo) {
			return bad("the reply address is not one address")
		}
	}
	switch {
	case hasControl(msg.Subject):
		return bad("the subject has control characters")
	case msg.Template == "" && msg.Text == "" && msg.HTML == "":
		return bad("it is empty")
	case msg.Template != "" && (msg.Text != "" || msg.HTML != ""):
		return bad("it has a template and content of its own")
	}
	return nil
}

// What is tried, as errors say it.
const (
	sending = "sending mail"
	asking  = "asking for the domain"
)

// explain turns the library's error, which may hold Mailgun's answer, into ours, which holds none of it.
func (m *Mailer) explain(ctx context.Context, doing, host string, err error) error {
	out := &Error{Host: host, doing: doing, kind: ErrUnavailable}
	var answer *mailgun.UnexpectedResponseError
	if errors.As(err, &answer) {
		out.Status = answer.Actual
		switch s := answer.Actual; {
		case s == statusForeign:
			out.Status, out.kind, out.Cause = 0, ErrRefused, "a web page answered, not the API; check mailgun.endpoint"
		case s == http.StatusUnauthorized || s == http.StatusForbidden:
			out.kind, out.Cause = ErrRefused, "the API key is not accepted; check mailgun.api_key, and mailgun.endpoint (accounts in the EU need https://api.eu.mailgun.net)"
		case s == http.StatusNotFound:
			out.kind, out.Cause = ErrRefused, fmt.Sprintf("the domain %s is not known there; check mailgun.domain, and mailgun.endpoint (domains in the EU need https://api.eu.mailgun.net)", m.domain)
		case s == http.StatusTooManyRequests:
			out.Cause = "too many calls at the moment"
		case s >= 500:
			out.Cause = "the service has trouble"
		case s >= 300 && s < 400:
			out.kind, out.Cause = ErrRefused, "a redirect, which is not followed; check mailgun.endpoint"
		case doing == asking:
			out.kind, out.Cause = ErrRefused, "the question is not understood; check mailgun.endpoint and mailgun.domain"
		default:
			out.kind, out.Cause = ErrRefused, "the mail is not accepted; check mailgun.from, the template if the delivery has one, and the recipient"
		}
		return out
	}
	if err := ctx.Err(); err != nil {
		out.other = err
	}
	var timeout net.Error
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		out.Cause = "given up"
	case errors.As(err, &dns):
		out.Cause = fmt.Sprintf("the name %s cannot be looked up", dns.Name)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		out.Cause = "no answer in time"
	case errors.As(err, &cert):
		out.Cause = "its certificate is not trusted"
	case errors.As(err, &op):
		out.Cause = op.Error() // addresses and the system's word, nothing of the request
	default:
		out.Cause = "the connection broke before an answer came"
	}
	return out
}

// statusForeign stands for a success that is not the API's. It is no status that a server can send.
const statusForeign = 999

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 10

// answers is a transport that lets nothing of an answer through but its status, and of a domain what is known here: every
// 2xx to a mail is a success, as for Logto's connector, and no body reaches an error.
type answers struct{ next http.RoundTripper }

func (t answers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	// Read to its end, so that the connection can be used again.
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	resp.Body.Close()
	if err != nil && req.Method == http.MethodGet {
		return nil, err
	}
	resp.Header.Del("Location")
	body := ""
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		known := kind != "text/html"
		resp.StatusCode, body = http.StatusOK, "{}"
		if known && req.Method == http.MethodGet {
			body, known = knownOfDomain(text)
		}
		if !known {
			resp.StatusCode, body = statusForeign, ""
		}
	}
	resp.Body = io.NopCloser(strings.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

func validDomain(s string) bool {
	if s == "" || len(s) > 253 || strings.Contains(s, "..") || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' })
}
