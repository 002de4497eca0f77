package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"portero/internal/assertion"
	"portero/internal/assertion/signed"
	"portero/internal/authflow"
	"portero/internal/config"
	"portero/internal/forwarded"
	"portero/internal/guard"
	"portero/internal/identity"
	"portero/internal/live"
	"portero/internal/logto"
	"portero/internal/management"
	"portero/internal/outbound"
	"portero/internal/page"
	"portero/internal/route"
	"portero/internal/seal"
	"portero/internal/session"
	"portero/internal/telemetry"
	"portero/internal/upstream"
)

// generation is everything that is built from one configuration. It never changes; a reload builds the next one beside
// it and swaps one pointer.
type generation struct {
	places
	config    *config.Config
	logto     *http.Client  // reaches Logto, for as long as its configuration stays the same
	secret    *logto.Secret // of the application, for as long as that stays the same
	recorded  http.Handler  // the generation, with every request in the access log and the metrics
	built     time.Time
	clock     func() time.Time
	log       *slog.Logger
	forwarded *forwarded.Resolver
	own       *chi.Mux
	pages     *page.Set
	sessions  *session.Manager
	guard     *guard.Guard
	flow      *authflow.Flow
	live      *live.Registry
	mirror    *mirror
	proxies   []*upstream.Proxy // :: route.Index → its proxy, nil for a route without upstreams
	signing   *signed.Keys
	headers   []*assertion.Set // :: route.Index → what its upstreams are told, nil for a route without
	supports  []*page.Support  // :: route.Index → its support contact, nil for the general one
	cors      []*cors          // :: route.Index → which other origins read its answers, nil for none
	told      told             // by answers to another proxy
	oauth2    *assertion.Set   // what /oauth2/auth tells besides; nil: there is none
	warned    sync.Map         // :: what has been warned of once → true
	homeURL   string
}

// build makes a generation. On an error nothing of it is left behind.
func (g *Gateway) build(cfg *config.Config, before *generation) (*generation, error) {
	gen := &generation{
		config: cfg, built: g.now(), clock: g.opts.Now, log: g.log,
		forwarded: forwarded.New(forwarded.Config{ExternalURL: cfg.ExternalURL, TrustedProxies: cfg.TrustedProxies, ListenerTLS: cfg.TLS.Enabled()}),
		live:      g.live,
		mirror:    &g.mirror,
		homeURL:   cfg.Pages.HomeURL,
	}
	var err error
	if gen.places, err = newPlaces(cfg); err != nil {
		return nil, err
	}
	if gen.headers, err = headerSets(cfg); err != nil {
		return nil, err
	}
	if gen.pages, err = buildPages(cfg, g.opts.Demo, g.opts.Now); err != nil {
		return nil, err
	}
	keys, err := g.keyRing(cfg)
	if err != nil {
		return nil, err
	}
	gen.signing = signed.NewKeys(keys, g.opts.Now)
	if gen.logto, err = logtoClient(cfg, before); err != nil {
		return nil, err
	}
	gen.secret = buildSecret(cfg, before)
	provider := gen.buildProvider(before, g.opts.Now)
	gen.sessions, err = session.NewManager(session.Config{
		Store: g.store, Revocations: g.revoked, Keys: keys, Issuer: provider.Issuer(), ClientID: cfg.Logto.AppID,
		Lifetime: cfg.Session.Lifetime, IdleTimeout: cfg.Session.IdleTimeout, AfterIdleCode: cfg.Session.AfterIdle == config.AfterIdleCode,
		Cookie: cfg.CookieName(), Secure: cfg.SecureCookies(),
		Identity: identityOptions(cfg),
		Now:      g.opts.Now, Log: g.log,
	})
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	gen.guard = &guard.Guard{Audit: g.audit, Now: g.opts.Now}
	gen.flow = &authflow.Flow{
		Provider: provider, Sessions: gen.sessions, Keys: keys, Pages: gen.pages, Refresh: g.refresher, Revoker: g.revoker,
		Audit: g.audit, Metrics: g.metrics, Log: g.log,
		ClientID: cfg.Logto.AppID, Endpoints: gen.endpoints, Cookie: cfg.CookieName(), Secure: cfg.SecureCookies(),
		Port: cfg.ExternalURL.Port(), Scopes: cfg.Logto.FinalScopes(), Resources: cfg.Logto.FinalResources(), Userinfo: cfg.Logto.NeedsUserinfo(),
		FirstScreen: cfg.Logto.SignIn.FirstScreen, Identifiers: cfg.Logto.SignIn.Identifiers, ExtraParams: params(cfg.Logto.SignIn.ExtraParams),
		Management: gen.buildManagement(before), Grace: cfg.Session.RefreshGrace,
		Title: func(host, path string) string { return gen.appOf(gen.routeOf(host, path)) },
		Support: func(host, path string) *page.Support {
			return gen.supportOf(gen.routeOf(host, path))
		},
		StepUpAge: func(host, path string) time.Duration {
			if rt := gen.routeOf(host, path); rt != nil {
				return rt.StepUp
			}
			return 0
		},
		Now: g.opts.Now,
	}
	if gen.endpoints.Aliases != "" {
		if gen.oauth2, err = oauth2Set(); err != nil {
			gen.close()
			return nil, err
		}
	}
	gen.told = gen.toldOf()
	if err := gen.buildProxies(g); err != nil {
		gen.close()
		return nil, err
	}
	gen.cors = buildCORS(cfg)
	gen.own = gen.router()
	gen.recorded = (&telemetry.Recorder{
		Log: g.log, Metrics: g.metrics, Access: cfg.Log.Access, Now: g.opts.Now, Failed: gen.panicked,
	}).Wrap(gen)
	return gen, nil
}

// identityOptions says how claims are read.
func identityOptions(cfg *config.Config) identity.Options {
	return identity.Options{UnverifiedEmail: cfg.IsInsecure(config.InsecureUnverifiedEmail)}
}

// panicked answers a request whose handling broke off.
func (gen *generation) panicked(w http.ResponseWriter, r *http.Request) {
	gen.fail(w, r, errors.New("the request broke off inside the gateway"))
}

// close ends what an old generation holds open and nobody uses; requests under way go on.
func (gen *generation) close() {
	for _, p := range gen.proxies {
		if p != nil {
			p.Close()
		}
	}
}

// routeOf is the route of a page that somebody wanted, for its name alone. nil: none.
func (gen *generation) routeOf(host, path string) *route.Route {
	escaped := (&url.URL{Path: path}).EscapedPath()
	target, err := route.ParseTarget(http.MethodGet, escaped, host)
	if err != nil {
		return nil
	}
	rt, err := gen.table.Match(host, http.MethodGet, target)
	if err != nil {
		return nil
	}
	return rt
}

func params(list []config.Param) map[string]string {
	out := make(map[string]string, len(list))
	for _, p := range list {
		out[p.Name] = p.Value
	}
	return out
}

// PageConfig is the `pages` part of a configuration as package page wants it.
func PageConfig(cfg *config.Config) page.Config {
	p := cfg.Pages
	texts := make([]page.Text, 0, len(p.Texts))
	for _, t := range p.Texts {
		texts = append(texts, page.Text{Page: t.Page, Part: t.Part, Lang: t.Lang, Text: t.Text})
	}
	var origins []string
	for _, host := range cfg.Hosts() {
		origins = append(origins, cfg.Origin(host))
	}
	return page.Config{
		Name: p.Name, LogoFile: p.LogoFile, LogoDarkFile: p.LogoDarkFile, Accent: p.Accent, AccentDark: p.AccentDark,
		Languages: p.Languages, Support: supportOf(p.Support), HomeURL: p.HomeURL, Texts: texts,
		Prefix: cfg.Endpoints.Prefix, LogtoOrigin: cfg.Logto.Endpoint.Scheme + "://" + cfg.Logto.Endpoint.Host, SignInOrigins: origins,
		LanguageCookie: cfg.CookieName() + "-lang", SecureCookies: cfg.SecureCookies(),
	}
}

func supportOf(s config.Support) page.Support {
	return page.Support{Name: s.Name, Email: s.Email, URL: s.URL, Phone: s.Phone}
}

func buildPages(cfg *config.Config, demo bool, now func() time.Time) (*page.Set, error) {
	c := PageConfig(cfg)
	c.Demo, c.Now = demo, now
	return page.New(c)
}

// keyRing makes the key ring of a configuration. Without a configured secret it is the one made at start.
func (g *Gateway) keyRing(cfg *config.Config) (*seal.KeyRing, error) {
	current := []byte(cfg.Session.Secret.Reveal())
	if len(current) == 0 {
		current = g.madeSecret
	}
	var old [][]byte
	for _, o := range cfg.Session.OldSecrets {
		old = append(old, []byte(o.Value.Reveal()))
	}
	keys, err := seal.NewKeyRing(current, old...)
	if err != nil {
		return nil, fmt.Errorf("session.secret: %w", err)
	}
	return keys, nil
}

// logtoClient makes the client that reaches Logto, or keeps the one before where nothing of it changed.
func logtoClient(cfg *config.Config, before *generation) (*http.Client, error) {
	l := cfg.Logto
	if before != nil && sameLogto(l, before.config.Logto) {
		return before.logto, nil
	}
	out := outbound.Config{Public: l.Endpoint, Internal: l.InternalEndpoint}
	if l.CAFile != "" {
		var err error
		if out.CA, err = outbound.LoadCA(l.CAFile); err != nil {
			return nil, fmt.Errorf("logto.ca_file: %w", err)
		}
	}
	return outbound.New(out), nil
}

// buildProvider makes the relying party, or keeps the one before with what it has cached.
func (gen *generation) buildProvider(before *generation, now func() time.Time) *logto.Provider {
	if before != nil && before.logto == gen.logto {
		return before.flow.Provider
	}
	l := gen.config.Logto
	return logto.New(logto.Config{
		Endpoint: l.Endpoint, Internal: l.InternalEndpoint, AppID: l.AppID, Secret: gen.secret, Client: gen.logto, Now: now, Log: gen.log,
	})
}

// buildSecret makes the client secret, or keeps the one before of the same application: a new value is put into it once this
// generation is the current one, so that requests which began before have it too and the old value is no longer needed.
func buildSecret(cfg *config.Config, before *generation) *logto.Secret {
	l := cfg.Logto
	if before != nil && l.AppID == before.config.Logto.AppID && l.Endpoint.String() == before.config.Logto.Endpoint.String() {
		return before.secret
	}
	return logto.NewSecret(l.AppSecret.Reveal())
}

// buildManagement makes the client of Logto's Management API, or keeps the one before with its token. nil: there are no
// credentials.
func (gen *generation) buildManagement(before *generation) *management.Client {
	m := gen.config.Logto.Management
	if m.AppID == "" {
		return nil
	}
	if before != nil && before.logto == gen.logto {
		if was := before.config.Logto.Management; was.AppID == m.AppID && was.AppSecret.Reveal() == m.AppSecret.Reveal() && was.Resource == m.Resource {
			return before.flow.Management
		}
	}
	return management.New(management.Config{
		Endpoint: gen.config.Logto.Endpoint, AppID: m.AppID, AppSecret: m.AppSecret.Reveal(), Resource: m.Resource, Client: gen.logto, Now: gen.clock,
	})
}

// sameLogto reports whether two configurations reach the same application in the same way, with whatever secret. A CA file
// may have changed behind its name, so with one nothing is the same.
func sameLogto(a, b config.Logto) bool {
	text := func(u *url.URL) string {
		if u == nil {
			return ""
		}
		return u.String()
	}
	return a.CAFile == "" && b.CAFile == "" && text(a.Endpoint) == text(b.Endpoint) && text(a.InternalEndpoint) == text(b.InternalEndpoint) &&
		a.AppID == b.AppID
}

// buildProxies makes the way to the applications.
func (gen *generation) buildProxies(g *Gateway) error {
	cfg := gen.config
	gen.proxies = make([]*upstream.Proxy, len(cfg.Routes))
	gen.supports = make([]*page.Support, len(cfg.Routes))
	byIndex := make([]*route.Route, len(cfg.Routes))
	for _, rt := range gen.table.Routes() {
		byIndex[rt.Index] = rt
	}
	var errs []error
	for i, r := range cfg.Routes {
		if r.Support != (config.Support{}) {
			s := supportOf(r.Support)
			gen.supports[i] = &s
		}
		if len(r.Upstreams) == 0 {
			continue
		}
		urls := make([]*url.URL, 0, len(r.Upstreams))
		for _, u := range r.Upstreams {
			urls = append(urls, u.URL)
		}
		var err error
		gen.proxies[i], err = upstream.New(upstream.Config{
			Route: byIndex[i], URLs: urls, PreserveHost: r.PreserveHost,
			Connect: r.Timeouts.Connect, ResponseHeader: r.Timeouts.ResponseHeader, Idle: r.Timeouts.Idle,
			DropAuthorization: dropsAuthorization(&r),
			DropSharing:       len(r.CORS.Origins) > 0,
			ProtectCache:      r.Cache == config.CacheProtect && r.Access != config.AccessPublic,
			OwnCookie:         ownCookie, Headers: gen.headers[i], Signed: gen.assertion(r.Identity), Live: g.live, Log: g.log, ExternalURL: cfg.ExternalURL, OriginOf: cfg.Origin,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("routes[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// assertion is the signed one of a route. nil: it has none.
func (gen *generation) assertion(r config.RouteIdentity) *signed.Assertion {
	names := r.AssertionHeaders()
	if len(names) == 0 {
		return nil
	}
	for i := range names {
		names[i] = http.CanonicalHeaderKey(names[i])
	}
	a := r.Assertion
	return &signed.Assertion{
		Keys: gen.signing, Issuer: gen.config.ExternalURL.Scheme + "://" + gen.config.ExternalURL.Host, Audience: a.Audience, Lifetime: a.Lifetime,
		Method: slices.Contains(a.Bind, config.BindMethod), Path: slices.Contains(a.Bind, config.BindPath), Headers: names,
	}
}

// headerSets are what the upstreams of each route are told.
func headerSets(cfg *config.Config) ([]*assertion.Set, error) {
	sets := make([]*assertion.Set, len(cfg.Routes))
	var errs []error
	for i, r := range cfg.Routes {
		if len(r.Upstreams) == 0 && !r.ForwardAuthOnly {
			continue
		}
		var err error
		if sets[i], err = assertion.NewSet(headers(r.Identity.Headers), signedIn(r.Identity)...); err != nil {
			errs = append(errs, fmt.Errorf("routes[%d].identity: %w", i, err))
		}
	}
	assertion.Together(sets)
	return sets, errors.Join(errs...)
}

// signedIn are the headers of the signed assertion, those that are switched off included: no client sends one.
func signedIn(r config.RouteIdentity) []string {
	names := r.AssertionHeaders()
	if header := assertion.Fold(r.Assertion.Header); !slices.ContainsFunc(names, func(n string) bool { return assertion.Fold(n) == header }) {
		names = append(names, r.Assertion.Header)
	}
	return names
}

func headers(list []config.Header) []assertion.Header {
	encodings := []string{config.EncodingStrict, config.EncodingPercent, config.EncodingBase64, config.EncodingRFC2047}
	out := make([]assertion.Header, 0, len(list))
	for _, h := range list {
		out = append(out, assertion.Header{
			Name: h.Name, Claims: h.Claim, Join: h.Join, Encoding: assertion.Encoding(max(0, slices.Index(encodings, h.Encoding))),
			MaxBytes: h.MaxBytes, Deny: h.Overflow == config.OverflowDeny,
		})
	}
	return out
}
