// Package mail sends e-mail through Mailgun's HTTP API.
//
// It owns one message on its way to Mailgun ([Mailer]) and the mails that carry one-time codes ([Deliveries], with the default
// texts). It does not own codes, and it retries nothing: whoever asked for a mail can ask again.
//
// Invariants:
//   - No error, and nothing printed of a Mailer or Config, holds the API key, a code, or any part of a mail or of Mailgun's
//     answer, which may quote the mail.
//   - A call ends by its context or after [Timeout], follows no redirect (which would carry key and mail elsewhere) and keeps
//     no answer.
//   - A message has exactly one recipient, and no field of it can add a header.
//
// Specifications: Mailgun's Messages API, POST /v3/DOMAIN/messages; RFC 5322 section 3.4 (addresses).
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
	"strings"
	"time"

	"github.com/mailgun/mailgun-go/v5"
)

// Timeout is the longest one call to Mailgun takes when the Client has no timeout of its own.
const Timeout = 10 * time.Second

// ErrUnavailable is returned by Send when Mailgun could not be reached, answered too late, or said that it cannot take the
// mail now (429 and 5xx): trying again later may help.
var ErrUnavailable = errors.New("the mail service does not answer")

// ErrRefused is returned by Send when Mailgun will not take the mail: the configuration has to change.
var ErrRefused = errors.New("the mail service refused the mail")

// ErrMessage is returned by Send when the message itself cannot be sent, before anything leaves.
var ErrMessage = errors.New("the mail cannot be sent as it is")

// Error is what went wrong between us and Mailgun. It is ErrUnavailable or ErrRefused.
type Error struct {
	Host   string // host of the endpoint
	Status int    // Mailgun's answer, 0 for none
	Cause  string // in words, without anything from the mail or the answer

	kind  error
	other error // a context's error
}

func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("sending mail: %s answered %d: %s", e.Host, e.Status, e.Cause)
	}
	return fmt.Sprintf("sending mail through %s: %s", e.Host, e.Cause)
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
}

// Format keeps the API key out of everything that prints a Config.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mailgun %s as %s", c.Endpoint, c.Domain)
}

// Mailer sends messages from one sender over one Mailgun domain. It is safe for concurrent use.
type Mailer struct {
	client *mailgun.Client
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
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("mailgun endpoint: not an http or https URL; write https://api.mailgun.net or https://api.eu.mailgun.net")
	case u.User != nil:
		return nil, errors.New("mailgun endpoint: has a user or password; the key belongs into api_key")
	case !validDomain(cfg.Domain):
		return nil, fmt.Errorf("mailgun domain: %q is not a domain name; write the sending domain, such as mg.example.com", cfg.Domain)
	case strings.TrimSpace(cfg.APIKey) == "":
		return nil, errors.New("mailgun api_key: missing")
	case strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return nil, errors.New("mailgun api_key: has characters that no key has")
	}
	if _, err := netmail.ParseAddress(cfg.From); err != nil || hasControl(cfg.From) {
		return nil, fmt.Errorf(`mailgun from: %q is not an address; write "Name <no-reply@%s>"`, cfg.From, cfg.Domain)
	}

	client := mailgun.NewMailgun(cfg.APIKey)
	if err := client.SetAPIBase(u.Scheme + "://" + u.Host); err != nil {
		return nil, errors.New("mailgun endpoint: has a version; write the origin alone")
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
	client.SetHTTPClient(hc)
	return &Mailer{client: client, host: u.Host, domain: cfg.Domain, from: cfg.From}, nil
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
	if msg.Template != "" {
		plain.SetTemplate(msg.Template)
		for name, value := range msg.Variables {
			if err := plain.AddTemplateVariable(name, value); err != nil {
				return fmt.Errorf("%w: template variable %q", ErrMessage, name)
			}
		}
	}
	if _, err := m.client.Send(ctx, plain); err != nil {
		return m.explain(ctx, err)
	}
	return nil
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

// explain turns the library's error, which may hold Mailgun's answer, into ours, which holds none of it.
func (m *Mailer) explain(ctx context.Context, err error) error {
	out := &Error{Host: m.host, kind: ErrUnavailable}
	var answer *mailgun.UnexpectedResponseError
	if errors.As(err, &answer) {
		out.Status = answer.Actual
		switch s := answer.Actual; {
		case s == statusWebPage:
			out.Status, out.kind, out.Cause = 0, ErrRefused, "a web page answered, not the API; check endpoint"
		case s == http.StatusUnauthorized || s == http.StatusForbidden:
			out.kind, out.Cause = ErrRefused, "the API key is not accepted; check api_key, and endpoint (accounts in the EU need https://api.eu.mailgun.net)"
		case s == http.StatusNotFound:
			out.kind, out.Cause = ErrRefused, fmt.Sprintf("the domain %s is not known there; check domain, and endpoint (domains in the EU need https://api.eu.mailgun.net)", m.domain)
		case s == http.StatusTooManyRequests:
			out.Cause = "too many mails at the moment"
		case s >= 500:
			out.Cause = "the service has trouble"
		case s >= 300 && s < 400:
			out.kind, out.Cause = ErrRefused, "a redirect, which is not followed; check endpoint"
		default:
			out.kind, out.Cause = ErrRefused, "the mail is not accepted; check from, and the recipient"
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

// statusWebPage stands for a success that is not the API's. It is no status that a server can send.
const statusWebPage = 999

// answers is a transport that lets nothing of an answer through but its status: every 2xx is a success, as for Logto's
// connector, and no body reaches an error.
type answers struct{ next http.RoundTripper }

func (t answers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	resp.Body.Close()
	resp.Header.Del("Location")
	body := ""
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/html" {
			resp.StatusCode = statusWebPage
		} else {
			resp.StatusCode, body = http.StatusOK, "{}"
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
