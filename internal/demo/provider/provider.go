package provider

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"portero/internal/demo/tenant"
)

// Config says who the provider is and who it works for.
type Config struct {
	URL string // where browsers and clients reach it, without a path: http://127.0.0.1:3001; a loopback address

	// Tenant has the applications, their secrets and how people sign in, and is served under /api/. nil: one of its own, with the
	// application of the following fields and sign-in by e-mail; with a Tenant they are not looked at.
	Tenant *tenant.Tenant

	AppID, AppSecret               string // the relying party
	ManagementID, ManagementSecret string // a machine-to-machine client for the client-credentials grant; "" none
	ManagementResource             string // the only resource its tokens are for; "" https://default.logto.app/api

	RedirectURIs           []string // accepted beside every loopback URI
	PostLogoutRedirectURIs []string // the same, for the end of a session

	// SendCode delivers a one-time code in place of the tenant's connector; usage is SignIn or Register, lang en or es. Its error is
	// logged. nil: the connector does; without a Tenant it is required.
	SendCode func(ctx context.Context, to, code, usage, lang string) error

	Name                 string       // what pages call themselves; "" Portero
	MailboxURL           string       // where the pages' link to the mailbox leads; "" no link
	StartURL             string       // where "start" leads on pages without an interaction; "" no such button
	UnknownSessionURL    string       // where a page without an interaction redirects to, Logto's unknownSessionRedirectUrl; "" a page says so
	ParallelInteractions bool         // keep every interaction of a browser; false: only the one started last, as Logto does
	BackchannelURI       string       // where logout tokens for AppID go; "" nowhere
	Client               *http.Client // delivers logout tokens; nil: one of its own that follows no redirects and gives up after 2.5 s

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged
}

// Provider is a running provider. Its zero value is of no use; see New.
type Provider struct {
	config   Config
	tenant   *tenant.Tenant
	issuer   string
	secure   bool   // cookies are Secure
	host     string // of URL
	now      func() time.Time
	log      *slog.Logger
	store    *store
	engine   *engine
	keys     *keyRing
	switches *Switches
	pages    *pages
	client   *http.Client
	xsrfKey  []byte
	handler  http.Handler
	closed   chan struct{}
	close    sync.Once
}

// New returns a provider with fresh keys and no people. It starts nothing: Handler is to be served at Config.URL.
func New(c Config) (*Provider, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the provider's URL: %w", err)
	case (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("provider URL %q is not just scheme, host and port", c.URL)
	case !loopbackHost(u.Hostname()):
		return nil, fmt.Errorf("provider URL %q is not a loopback address: the demonstration provider runs nowhere else", c.URL)
	case c.Tenant == nil && (c.AppID == "" || c.AppSecret == ""):
		return nil, errors.New("the provider needs a client id and secret")
	case c.Tenant == nil && c.SendCode == nil:
		return nil, errors.New("the provider needs a way to send codes")
	}
	c.URL = u.Scheme + "://" + u.Host
	c.Name = cmp.Or(c.Name, "Portero")
	c.ManagementResource = cmp.Or(c.ManagementResource, "https://default.logto.app/api")
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.PostLogoutRedirectURIs = slices.Clone(c.PostLogoutRedirectURIs)

	if c.Tenant == nil {
		if c.Tenant, err = newTenant(c); err != nil {
			return nil, fmt.Errorf("making the tenant: %w", err)
		}
	}
	if c.SendCode == nil {
		c.SendCode = func(ctx context.Context, to, code, usage, _ string) error {
			return c.Tenant.SendCode(ctx, usage, to, code)
		}
	}

	p := &Provider{
		config: c,
		tenant: c.Tenant,
		issuer: c.URL + "/oidc",
		secure: u.Scheme == "https",
		host:   u.Hostname(),
		now:    c.Now,
		log:    c.Log,
		client: c.Client,
		closed: make(chan struct{}),
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.client == nil {
		p.client = newBackchannelClient()
	}
	p.xsrfKey = make([]byte, 32)
	rand.Read(p.xsrfKey) // never fails (crypto/rand)
	if p.keys, err = newKeyRing(p.now); err != nil {
		return nil, err
	}
	p.store = newStore(p.now)
	p.switches = newSwitches(p)
	if p.engine, err = newEngine(p); err != nil {
		return nil, err
	}
	if p.pages, err = newPages(c.Name); err != nil {
		return nil, err
	}
	p.handler = p.routes()
	return p, nil
}

// newTenant makes the tenant of a provider that is given none: one application, and sign-in by e-mail for everybody.
func newTenant(c Config) (*tenant.Tenant, error) {
	t := tenant.New(tenant.Config{Resource: c.ManagementResource, Now: c.Now})
	t.Add(tenant.Application{
		ID: c.AppID, Name: c.Name, Type: "Traditional", RedirectURIs: c.RedirectURIs, PostLogoutRedirectURIs: c.PostLogoutRedirectURIs,
		BackchannelLogoutURI: c.BackchannelURI, SessionRequired: true,
	}, c.AppSecret)
	err := t.SetConnector(map[string]any{
		"domain": "demo.example", "apiKey": "demo", "from": c.Name + " <no-reply@demo.example>",
		"deliveries": map[string]any{"Generic": map[string]any{"subject": "{{code}}", "html": "<p>{{code}}</p>", "text": "{{code}}"}},
	})
	t.SignInByEmail(c.UnknownSessionURL)
	return t, err
}

// Tenant is what is served under /api/.
func (p *Provider) Tenant() *tenant.Tenant { return p.tenant }

// Handler serves the provider: everything under /oidc/, the pages under /sign-in and its like, and the Management API under /api/.
func (p *Provider) Handler() http.Handler { return p.handler }

// Switches changes how the provider behaves, for tests.
func (p *Provider) Switches() *Switches { return p.switches }

// Issuer is the issuer of its tokens: the URL with /oidc.
func (p *Provider) Issuer() string { return p.issuer }

// Close lets go of requests that a switch holds. The provider is of no use afterwards.
func (p *Provider) Close() {
	p.close.Do(func() {
		close(p.closed)
		p.client.CloseIdleConnections()
	})
}

const maxBody = 64 << 10

// routes lists every address the provider answers at.
func (p *Provider) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(e Endpoint, pattern string, h http.HandlerFunc) { mux.Handle(pattern, p.switches.observe(e, h)) }

	handle(Discovery, "GET /oidc/.well-known/openid-configuration", p.serveDiscovery)
	handle(KeySet, "GET /oidc/jwks", p.serveKeySet)
	handle(Authorization, "GET /oidc/auth", p.serveAuthorization)
	handle(Authorization, "POST /oidc/auth", p.serveAuthorization)
	handle(Token, "POST /oidc/token", p.serveToken)
	handle(Revocation, "POST /oidc/token/revocation", p.serveRevocation)
	handle(Userinfo, "GET /oidc/me", p.serveUserinfo)
	handle(Userinfo, "POST /oidc/me", p.serveUserinfo)
	handle(EndSession, "GET /oidc/session/end", p.serveEndSession)
	handle(EndSession, "POST /oidc/session/end", p.serveEndSession)
	handle(EndSession, "POST /oidc/session/end/confirm", p.serveEndSessionConfirm)
	handle(EndSession, "GET /oidc/session/end/success", p.serveEndSessionSuccess)
	if p.config.ManagementID != "" {
		handle(Management, "GET /api/users/{user}/sessions", p.managed(p.serveSessions))
		handle(Management, "DELETE /api/users/{user}/sessions/{session}", p.managed(p.serveDeleteSession))
		p.routePeople(func(pattern string, h http.HandlerFunc) { handle(Management, pattern, p.managed(h)) })
		handle(Management, "/api/", p.managed(p.tenant.ServeHTTP))
		handle(Management, "GET /api/.well-known/sign-in-exp", p.tenant.ServeHTTP)
	}
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

	for _, path := range signInPaths {
		handle(Pages, "GET "+path, p.serveAddress)
		handle(Pages, "POST "+path, p.acceptAddress)
	}
	handle(Pages, "GET "+codePath, p.serveCode)
	handle(Pages, "POST "+codePath, p.acceptCode)
	handle(Pages, "POST "+newCodePath, p.acceptNewCode)
	handle(Pages, "/", p.serveNotFound)
	mux.HandleFunc("GET /favicon.ico", noIcon)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A name that a stranger's DNS points here must not read anything: only loopback names are answered.
		if host := hostname(r.Host); !loopbackHost(host) && !strings.EqualFold(host, p.host) {
			http.Error(w, "the demonstration provider answers at loopback addresses only", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			h.Set("Logto-Core-Request-Id", random()[:16])
		} else { // bodies there have a bound of their own
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		mux.ServeHTTP(w, r)
	})
}

// noIcon answers GET /favicon.ico, which browsers ask for by themselves: there is none, and that is no trouble.
func noIcon(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// random returns 43 characters that nobody can guess, the shape of every opaque value of Logto.
func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign returns the keyed hash that binds a form to what it was made for.
func (p *Provider) sign(purpose, value string) string {
	m := hmac.New(sha256.New, p.xsrfKey)
	m.Write([]byte(purpose + "\x00" + value))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
