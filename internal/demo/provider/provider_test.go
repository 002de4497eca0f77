package provider_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	coreos "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/net/html"

	"portero/internal/demo/provider"
)

const (
	appID       = "app0123456789"
	appSecret   = "secret+/ :with%odd characters"
	callback    = "http://localhost:3000/callback"
	verifier    = "a-verifier-that-is-long-enough-for-rfc-7636-0123456789"
	challenge   = "usnX74KF2StIdV3DqSeVdiC55qslWkcQgkgLc-hBwTE"
	fullScope   = "openid offline_access profile email roles custom_data urn:logto:scope:organizations"
	mailboxLink = "http://127.0.0.1:3002"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type sentCode struct{ To, Code, Usage, Lang string }

// world is a provider on a port of its own, and its mail.
type world struct {
	*provider.Provider
	t     *testing.T
	url   string
	clock *clock

	mu      sync.Mutex
	mail    []sentCode
	mailErr error
}

func newWorld(t *testing.T, change func(*provider.Config)) *world {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	w := &world{t: t, url: "http://" + server.Listener.Addr().String(), clock: &clock{now: time.Now().Truncate(time.Second)}}
	config := provider.Config{
		URL: w.url, AppID: appID, AppSecret: appSecret, ManagementID: "m2m", ManagementSecret: "m2m-secret",
		MailboxURL: mailboxLink, StartURL: "http://localhost:3000/", Now: w.clock.Now,
		SendCode: func(_ context.Context, to, code, usage, lang string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.mailErr == nil {
				w.mail = append(w.mail, sentCode{to, code, usage, lang})
			}
			return w.mailErr
		},
	}
	if change != nil {
		change(&config)
	}
	p, err := provider.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w.Provider = p
	server.Config.Handler = p.Handler()
	server.Start()
	t.Cleanup(func() { p.Close(); server.Close() })
	return w
}

func (w *world) lastMail() sentCode {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mail) == 0 {
		w.t.Fatal("no mail has been sent")
	}
	return w.mail[len(w.mail)-1]
}

func (w *world) mails() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mail)
}

func (w *world) failMail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mailErr = err
}

// browser keeps cookies, follows no redirect by itself, and sees forms as a person without scripts does.
type browser struct {
	w        *world
	cookies  map[string]string
	language string
}

func (w *world) browser() *browser { return &browser{w: w, cookies: map[string]string{}} }

// view is an answer as a browser has it.
type view struct {
	Status int
	URL    string
	Header http.Header
	Body   string
	Set    []*http.Cookie
}

func (v view) location(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(v.Header.Get("Location"))
	if err != nil || v.Header.Get("Location") == "" {
		t.Fatalf("answer %d of %s has no location: %s", v.Status, v.URL, v.Body)
	}
	return u
}

func (b *browser) do(method, target string, form url.Values) view {
	b.w.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.w.url + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.w.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.language != "" {
		req.Header.Set("Accept-Language", b.language)
	}
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return view{resp.StatusCode, target, resp.Header, string(body), resp.Cookies()}
}

// open goes to an address and follows redirects as long as they stay at the provider.
func (b *browser) open(target string) view { return b.follow(b.do("GET", target, nil)) }

func (b *browser) follow(v view) view {
	b.w.t.Helper()
	for range 10 {
		if v.Status/100 != 3 {
			return v
		}
		base, _ := url.Parse(v.URL)
		next := base.ResolveReference(v.location(b.w.t))
		if next.Host != base.Host {
			return v
		}
		v = b.do("GET", next.String(), nil)
	}
	b.w.t.Fatal("too many redirects")
	return v
}

// form is what a page asks for: where to, with which fields.
type form struct {
	Action string
	Fields url.Values
}

// forms returns the forms of a page in the order of the source.
func (v view) forms(t *testing.T) []form {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	var all []form
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		base, _ := url.Parse(v.URL)
		action, _ := url.Parse(attribute(n, "action"))
		f := form{Action: base.ResolveReference(action).String(), Fields: url.Values{}}
		for field := range n.Descendants() {
			if field.Type == html.ElementNode && field.Data == "input" {
				f.Fields.Set(attribute(field, "name"), attribute(field, "value"))
			}
		}
		all = append(all, f)
	}
	return all
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// fill posts the first form of a page with a field filled in and follows.
func (b *browser) fill(v view, name, value string) view {
	b.w.t.Helper()
	return b.follow(b.post(v, name, value))
}

// post posts the first form of a page with a field filled in.
func (b *browser) post(v view, name, value string) view {
	b.w.t.Helper()
	forms := v.forms(b.w.t)
	if len(forms) == 0 {
		b.w.t.Fatalf("page %s (%d) has no form: %s", v.URL, v.Status, v.Body)
	}
	if name != "" {
		if !forms[0].Fields.Has(name) {
			b.w.t.Fatalf("form of %s has no field %s: %v", v.URL, name, forms[0].Fields)
		}
		forms[0].Fields.Set(name, value)
	}
	return b.do("POST", forms[0].Action, forms[0].Fields)
}

// authorization is the address of an authorization request; change replaces parameters, "" removes one.
func (w *world) authorization(change map[string]string) string {
	q := url.Values{
		"client_id": {appID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {fullScope}, "state": {"state-1"},
		"nonce": {"nonce-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "prompt": {"consent"}, "max_age": {"1209600"},
	}
	for k, v := range change {
		if q.Set(k, v); v == "" {
			q.Del(k)
		}
	}
	return w.url + "/oidc/auth?" + q.Encode()
}

// signIn goes through the pages from an authorization request to the redirect and returns its query.
func (b *browser) signIn(address, target string) url.Values {
	b.w.t.Helper()
	v := b.open(target)
	v = b.fill(v, "identifier", address)
	v = b.fill(v, "code", b.w.lastMail().Code)
	return v.location(b.w.t).Query()
}

// tokens is an answer of the token endpoint.
type tokens struct {
	Status       int
	Header       http.Header
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	Scope        string `json:"scope"`
	TokenType    string `json:"token_type"`
	Code         string `json:"code"`
	Message      string `json:"message"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
}

// call posts to an endpoint as the client does.
func (w *world) call(path string, form url.Values, id, secret string) (int, http.Header, []byte) {
	w.t.Helper()
	req, err := http.NewRequest("POST", w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

func (w *world) token(form url.Values, id, secret string) tokens {
	w.t.Helper()
	var got tokens
	status, header, body := w.call("/oidc/token", form, id, secret)
	if err := json.Unmarshal(body, &got); err != nil {
		w.t.Fatalf("token endpoint answered %d %q: %v", status, body, err)
	}
	got.Status, got.Header = status, header
	return got
}

func codeForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
}

func (w *world) redeem(code string) tokens {
	w.t.Helper()
	return w.token(codeForm(code), appID, appSecret)
}

func (w *world) refresh(token string) tokens {
	w.t.Helper()
	return w.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, appID, appSecret)
}

// signedIn signs somebody in and returns the tokens.
func (b *browser) signedIn(address string) tokens {
	b.w.t.Helper()
	got := b.w.redeem(b.signIn(address, b.w.authorization(nil)).Get("code"))
	if got.Status != 200 {
		b.w.t.Fatalf("redeeming the code: %+v", got)
	}
	return got
}

// claims verifies an ID token with another library and returns its claims.
func (w *world) claims(idToken string) map[string]any {
	w.t.Helper()
	keys := coreos.NewRemoteKeySet(w.t.Context(), w.url+"/oidc/jwks")
	v := coreos.NewVerifier(w.url+"/oidc", keys, &coreos.Config{
		ClientID: appID, SupportedSigningAlgs: []string{"ES384", "RS256"}, Now: w.clock.Now,
	})
	token, err := v.Verify(w.t.Context(), idToken)
	if err != nil {
		w.t.Fatalf("verifying an ID token: %v", err)
	}
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		w.t.Fatal(err)
	}
	return claims
}

func (w *world) get(path string, header http.Header) (int, http.Header, map[string]any) {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		w.t.Fatalf("GET %s answered %d without JSON: %v", path, resp.StatusCode, err)
	}
	return resp.StatusCode, resp.Header, body
}

func (w *world) userinfo(accessToken string) (int, map[string]any) {
	w.t.Helper()
	status, _, body := w.get("/oidc/me", http.Header{"Authorization": {"Bearer " + accessToken}})
	return status, body
}

func TestNewRefusesWhatIsNoDemonstration(t *testing.T) {
	t.Parallel()
	good := provider.Config{URL: "http://127.0.0.1:3001", AppID: "a", AppSecret: "b",
		SendCode: func(context.Context, string, string, string, string) error { return nil }}
	for name, change := range map[string]func(*provider.Config){
		"public host":   func(c *provider.Config) { c.URL = "https://id.example.com" },
		"any address":   func(c *provider.Config) { c.URL = "http://0.0.0.0:3001" },
		"path":          func(c *provider.Config) { c.URL = "http://127.0.0.1:3001/oidc" },
		"user":          func(c *provider.Config) { c.URL = "http://a@127.0.0.1:3001" },
		"no scheme":     func(c *provider.Config) { c.URL = "127.0.0.1:3001" },
		"no client":     func(c *provider.Config) { c.AppID = "" },
		"no secret":     func(c *provider.Config) { c.AppSecret = "" },
		"no code sends": func(c *provider.Config) { c.SendCode = nil },
	} {
		c := good
		change(&c)
		if _, err := provider.New(c); err == nil {
			t.Errorf("%s: New accepted it", name)
		}
	}
	p, err := provider.New(good)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Close() // twice does no harm
}

func TestStrangeHostIsNotAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for host, want := range map[string]int{
		"evil.example":         http.StatusMisdirectedRequest,
		"127.0.0.1.evil.test":  http.StatusMisdirectedRequest,
		"localhost:3001":       http.StatusOK,
		"[::1]:3001":           http.StatusOK,
		"provider.localhost:1": http.StatusOK,
	} {
		req, _ := http.NewRequest("GET", w.url+"/oidc/jwks", nil)
		req.Host = host
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %q: got %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// TestParallelProviders guards against state that op shares between providers of one process.
func TestParallelProviders(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			p, err := provider.New(provider.Config{URL: "http://" + l.Addr().String(), AppID: "a", AppSecret: "b",
				SendCode: func(context.Context, string, string, string, string) error { return nil }})
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			rec := httptest.NewRecorder()
			p.Handler().ServeHTTP(rec, httptest.NewRequest("GET", p.Issuer()+"/.well-known/openid-configuration", nil))
			var doc map[string]any
			if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil || doc["issuer"] != p.Issuer() {
				t.Errorf("discovery: got issuer %v (%v), want %s", doc["issuer"], err, p.Issuer())
			}
		})
	}
	group.Wait()
}
