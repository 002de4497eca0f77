package replicas_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// patience is how long a client waits for an answer.
const patience = 20 * time.Second

// client is somebody's browser. Each request goes to the replica it is told to.
type client struct {
	site         *site
	Subject, SID string

	mu      sync.Mutex
	cookies map[string]map[string]string // :: host → cookie name → value
}

// Client is a browser of that person.
func (s *site) Client(subject, sid string) *client {
	return &client{site: s, Subject: subject, SID: sid, cookies: map[string]map[string]string{}}
}

// with is a copy of the browser as it is now: what happens to one of both does not concern the other.
func (c *client) with() *client {
	out := c.site.Client(c.Subject, c.SID)
	c.mu.Lock()
	defer c.mu.Unlock()
	for host, cookies := range c.cookies {
		out.cookies[host] = maps.Clone(cookies)
	}
	return out
}

// answer is what came back.
type answer struct {
	Status   int
	Location *url.URL // nil: none
	Text     string
	SetToken bool // it sets a session token
	Header   http.Header
}

func (a answer) String() string {
	if a.Location != nil {
		to := *a.Location
		to.RawQuery = ""
		return fmt.Sprintf("%d to %s", a.Status, &to)
	}
	return fmt.Sprintf("%d %s", a.Status, http.StatusText(a.Status))
}

// navigate gets a page from a replica, as somebody does who types its address or follows a redirect.
func (c *client) navigate(r *replica, address string) (answer, error) {
	return c.send(r, c.site.single, http.MethodGet, address, nil, http.Header{
		"Accept": {"text/html,*/*;q=0.8"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"},
	})
}

// use gets the application's page from a replica, as a script of it does. Whatever the answer says, the browser keeps
// its cookies.
func (c *client) use(r *replica) (answer, error) { return c.useAt(r, origin) }

func (c *client) useAt(r *replica, at string) (answer, error) {
	return c.with().send(r, c.site.client, http.MethodGet, at+"/app", nil, http.Header{
		"Accept": {"application/json"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"},
	})
}

// signOut presses the button.
func (c *client) signOut(r *replica, at string) (answer, error) {
	return c.send(r, c.site.single, http.MethodPost, at+"/sign-out", url.Values{}, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {at}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"same-origin"},
		"Accept": {"text/html"},
	})
}

// logout tells a replica what the issuer would tell it.
func (s *site) logout(r *replica, token string) (answer, error) {
	return s.Client("", "").send(r, s.single, http.MethodPost, origin+"/_portero/backchannel-logout",
		url.Values{"logout_token": {token}}, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
}

// send sends a request for one of the site's hosts to a replica, and any other where it belongs.
func (c *client) send(r *replica, via *http.Client, method, address string, form url.Values, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := c.request(ctx, r, method, address, form, header)
	if err != nil {
		return answer{}, err
	}
	resp, err := via.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode, Text: string(text), Header: resp.Header}
	a.SetToken = c.keep(hostOf(address), resp)
	if to := resp.Header.Get("Location"); to != "" {
		if a.Location, err = url.Parse(address); err == nil {
			a.Location, err = a.Location.Parse(to)
		}
	}
	return a, err
}

func (c *client) request(ctx context.Context, r *replica, method, address string, form url.Values, header http.Header) (*http.Request, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	host := u.Host
	ours := host == hostOf(origin) || host == hostOf(second)
	if ours {
		u.Host, _ = r.Addresses()
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // a form is sent once
	req.Header = header.Clone()
	if !ours {
		req.Header.Set(headerSubject, c.Subject)
		req.Header.Set(headerSID, c.SID)
		return req, nil
	}
	req.Host = host
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, value := range c.cookies[host] {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return req, nil
}

// keep keeps the cookies of an answer, and reports whether it sets a session token.
func (c *client) keep(host string, resp *http.Response) (token bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cookies[host] == nil {
		c.cookies[host] = map[string]string{}
	}
	for _, set := range resp.Cookies() {
		if set.MaxAge < 0 || set.Value == "" {
			delete(c.cookies[host], set.Name)
			continue
		}
		c.cookies[host][set.Name] = set.Value
		token = token || set.Name == cookie
	}
	return token
}

var errNoSession = errors.New("the sign-in did not lead to a session")

// hops is how many requests a sign-in may take.
const hops = 12

// signIn signs in for an origin, afresh where there is a session. Each step goes to the replica that pick names.
func (c *client) signIn(at string, pick func() *replica) error {
	next := at + "/sign-in?return_to=/app&fresh=1"
	for range hops {
		a, err := c.navigate(pick(), next)
		switch {
		case err != nil:
			return err
		case a.SetToken:
			return nil
		case a.Location == nil || a.Status < 300 || a.Status > 399:
			return fmt.Errorf("%w: %s", errNoSession, a)
		}
		next = a.Location.String()
	}
	return errNoSession
}

// signedIn is a person who has signed in over that replica.
func (s *site) signedIn(subject, sid string, r *replica) *client {
	s.t.Helper()
	c := s.Client(subject, sid)
	if err := c.signIn(origin, func() *replica { return r }); err != nil {
		s.t.Fatalf("signing in on %s: %v", r, err)
	}
	return c
}

// let reports whether an answer is the application's, to that person.
func (c *client) let(a answer) bool { return a.Status == http.StatusOK && a.Text == "user="+c.Subject }

// refused reports whether an answer asks for a sign-in.
func refused(a answer) bool {
	return a.Status == http.StatusUnauthorized || a.Location != nil && a.Location.Path == "/oidc/auth"
}

// undecided reports whether a replica says that it cannot know.
func undecided(a answer) bool { return a.Status == http.StatusServiceUnavailable }
