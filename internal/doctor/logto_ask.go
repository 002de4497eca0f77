package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"portero/internal/outbound"
)

const (
	maxAnswer = 1 << 20
	// askTimeout bounds one request: of the 20 s that all checks have, several in a row have to fit.
	askTimeout = 5 * time.Second
)

// answer is what became of one request: an answer of somebody, or why there is none. Of what the other side wrote it
// keeps JSON, a plain error code, and times.
type answer struct {
	status   int // 0: there is no answer
	redirect bool
	object   map[string]any // of a JSON object; nil: it is none
	code     string         // the word by which Logto or OAuth names an error; "": none that is plain
	page     bool           // it is HTML
	ours     bool           // it says that the gateway made it (RFC 9209)
	date     time.Time      // of the Date header, less what a cache says about its age; zero: none that can be read
	asked    time.Time      // by our clock, like came
	came     time.Time
	problem  string // why there is no answer, in our words; "": there is one
	tls      tlsProblem
}

// tlsProblem is what is wrong with somebody's TLS.
type tlsProblem int

const (
	tlsFine      tlsProblem = iota
	tlsUnknown              // the certificate is signed by nobody who is trusted
	tlsOtherName            // the certificate is for another name
	tlsExpired
	tlsNone   // the other side does not speak TLS
	tlsBroken // anything else
)

// took is how long the answer was on its way.
func (a answer) took() time.Duration { return a.came.Sub(a.asked) }

// text is a member that is a text; "" if it is none.
func (a answer) text(name string) string {
	s, _ := a.object[name].(string)
	return s
}

// asker sends requests, to Logto and to others.
type asker struct {
	client *http.Client // it follows no redirects
	now    func() time.Time
}

// get asks for one thing.
func (k asker) get(ctx context.Context, address string) answer {
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return answer{problem: "the address is none"}
	}
	return k.do(ctx, req)
}

// post sends a form. user and password go along where user is not empty, each form-encoded first (RFC 6749 2.3.1).
func (k asker) post(ctx context.Context, address string, form url.Values, user, password string) answer {
	req, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{problem: "the address is none"}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		pair := url.QueryEscape(user) + ":" + url.QueryEscape(password)
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return k.do(ctx, req)
}

func (k asker) do(ctx context.Context, req *http.Request) answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req.Header.Set("Accept", "application/json")
	a := answer{asked: k.now()}
	resp, err := k.client.Do(req.WithContext(ctx))
	a.came = k.now()
	if errors.Is(err, outbound.ErrRedirect) {
		a.status, a.redirect = http.StatusFound, true
		return a
	}
	if err != nil {
		a.problem, a.tls = unreachable(req.URL, err)
		return a
	}
	defer resp.Body.Close()
	a.status, a.date, a.redirect = resp.StatusCode, dateOf(resp.Header), resp.StatusCode/100 == 3
	a.page = strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
	a.ours = strings.HasPrefix(resp.Header.Get("Proxy-Status"), "portero;")
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return a
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	if d.Decode(&a.object) != nil {
		a.object = nil
		return a
	}
	// Logto names an error twice; OAuth's word is the one that is specified.
	for _, name := range []string{"error", "code"} {
		if code := a.text(name); a.code == "" && plainWord(code) {
			a.code = strings.TrimPrefix(code, "oidc.")
		}
	}
	return a
}

// plainWord says whether a text is a word of a program, short and without anything that could be a secret's.
func plainWord(s string) bool {
	return s != "" && len(s) <= 40 && !strings.ContainsFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' && c != '.' })
}

// dateOf is when an answer was made, by the clock of who made it (RFC 9110 6.6.1, RFC 9111 5.1).
func dateOf(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		t = t.Add(time.Duration(age) * time.Second)
	}
	return t
}

// unreachable says in our words why a request got no answer.
func unreachable(u *url.URL, err error) (string, tlsProblem) {
	var (
		name    *net.DNSError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		timeout net.Error
		cause   = err
		wrapped *url.Error
	)
	if errors.As(err, &wrapped) {
		cause = wrapped.Err
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.As(err, &name):
		return "the name " + u.Hostname() + " cannot be looked up", tlsFine
	case errors.As(err, &unknown):
		return "its certificate is signed by nobody whom this machine trusts", tlsUnknown
	case errors.As(err, &host):
		return "its certificate is for another name than " + u.Hostname(), tlsOtherName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate has expired, or is not valid yet", tlsExpired
	case untrusted:
		return "its certificate is not valid", tlsBroken
	case strings.HasPrefix(cause.Error(), "tls: first record does not look like"), strings.HasSuffix(cause.Error(), "server gave HTTP response to HTTPS client"):
		return "it does not speak TLS there", tlsNone
	case strings.HasPrefix(cause.Error(), "tls: "), strings.HasPrefix(cause.Error(), "remote error: tls: "):
		return "no TLS that is new enough comes about", tlsBroken
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens at " + u.Host, tlsFine
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer within " + askTimeout.String(), tlsFine
	}
	return "the connection broke before an answer came", tlsFine
}
