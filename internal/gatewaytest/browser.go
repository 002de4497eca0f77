package gatewaytest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Browser keeps cookies as a browser does (by host, not by port), sends Fetch metadata, and follows redirects only
// when told to. One Browser is one person's profile; its methods may be used from several goroutines (tabs).
type Browser struct {
	t      testing.TB
	client *http.Client
	seen   func(*Response) // of every answer that was read to its end; nil: nothing

	mu      sync.Mutex
	cookies map[string]map[string]string // :: host name → cookie name → value
}

// Response is an answer that has been read to its end.
type Response struct {
	*http.Response
	Text string
}

// Location is the answer's Location header, resolved.
func (r *Response) Location() string {
	u, err := r.Response.Location()
	if err != nil {
		return ""
	}
	return u.String()
}

// NewBrowser makes one. dial says at which address a host listens; hosts it does not know are dialled as they are.
func NewBrowser(t testing.TB, dial map[string]string) *Browser {
	d := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			if to, ok := dial[host]; ok {
				addr = to
			}
			return d.DialContext(ctx, network, addr)
		},
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // certificates of tests are of no authority
		DisableCompression: true,
		// A body that is announced waits for the word, as curl's does.
		ExpectContinueTimeout: 10 * time.Second,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &Browser{
		t:       t,
		cookies: map[string]map[string]string{},
		client: &http.Client{
			Transport: transport, Timeout: 30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Navigation are the headers of somebody typing an address.
func Navigation() http.Header {
	return http.Header{
		"Accept":         {"text/html,application/xhtml+xml,*/*;q=0.8"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"},
		"User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
	}
}

// Do sends one request with the cookies of its host, and keeps those of the answer.
func (b *Browser) Do(r *http.Request) *Response {
	b.t.Helper()
	resp := b.Open(r)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: reading the body: %v", r.Method, r.URL, err)
	}
	out := &Response{Response: resp, Text: string(body)}
	if b.seen != nil {
		b.seen(out)
	}
	return out
}

// Open is Do for an answer whose body the caller reads, and closes.
func (b *Browser) Open(r *http.Request) *http.Response {
	b.t.Helper()
	resp, err := b.Send(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	return resp
}

// Send is Open for a request that may fail.
func (b *Browser) Send(r *http.Request) (*http.Response, error) {
	for name, value := range b.Cookies(r.URL.Hostname()) {
		r.Header["Cookie"] = []string{strings.TrimPrefix(strings.Join(r.Header["Cookie"], "; ")+"; "+name+"="+value, "; ")}
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	b.keep(r.URL.Hostname(), resp)
	return resp, nil
}

func (b *Browser) keep(host string, resp *http.Response) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cookies[host] == nil {
		b.cookies[host] = map[string]string{}
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(time.Now()) {
			delete(b.cookies[host], c.Name)
			continue
		}
		b.cookies[host][c.Name] = c.Value
	}
}

// Cookies are the cookies of a host, by name.
func (b *Browser) Cookies(host string) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]string{}
	for name, value := range b.cookies[host] {
		out[name] = value
	}
	return out
}

// SetCookie puts a cookie there; an empty value removes it.
func (b *Browser) SetCookie(host, name, value string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cookies[host] == nil {
		b.cookies[host] = map[string]string{}
	}
	if value == "" {
		delete(b.cookies[host], name)
		return
	}
	b.cookies[host][name] = value
}

// Request makes a request with the headers of a navigation, changed by header: an empty value removes one.
func (b *Browser) Request(method, address string, body io.Reader, header map[string]string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequest(method, address, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = Navigation()
	for name, value := range header {
		if value == "" {
			r.Header.Del(name)
			continue
		}
		r.Header.Set(name, value)
	}
	return r
}

// Get navigates to an address and stays on the answer.
func (b *Browser) Get(address string) *Response {
	b.t.Helper()
	return b.Do(b.Request(http.MethodGet, address, nil, nil))
}

// Post sends a form from a page of the same origin.
func (b *Browser) Post(address string, form url.Values) *Response {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.Do(b.Request(http.MethodPost, address, strings.NewReader(form.Encode()), map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": u.Scheme + "://" + u.Host, "Sec-Fetch-Site": "same-origin",
	}))
}

// Follow goes on along redirects, at most twenty of them.
func (b *Browser) Follow(r *Response) *Response {
	b.t.Helper()
	for n := 0; r.StatusCode >= 300 && r.StatusCode < 400; n++ {
		if n == 20 {
			b.t.Fatalf("more than 20 redirects, the last to %s", r.Location())
		}
		r = b.Get(r.Location())
	}
	return r
}

// Visit navigates to an address and follows redirects.
func (b *Browser) Visit(address string) *Response {
	b.t.Helper()
	return b.Follow(b.Get(address))
}

// String names the cookies, never their values.
func (b *Browser) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, c := range b.cookies {
		n += len(c)
	}
	return fmt.Sprintf("browser with %d cookies", n)
}
