package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"portero/internal/config"
	"portero/internal/outbound"
	"portero/internal/setup"
)

// once is a fact that the first who needs it asks for.
type once[T any] struct {
	sync.Once
	value T
}

func (o *once[T]) get(ask func() T) T {
	o.Do(func() { o.value = ask() })
	return o.value
}

// look is Logto as the checks see it without credentials of the Management API: each thing is asked for once.
type look struct {
	config *config.Config
	now    func() time.Time
	via    asker  // as the gateway asks: over logto.internal_endpoint, where there is one
	direct asker  // as a browser asks
	issuer string // that tokens have to have

	discovered, discoveredDirectly, keySet, signIn, redeemed once[answer]
	other                                                    once[string]
	unknown                                                  once[bool]
}

// newLook asks nothing yet.
func newLook(c *config.Config, now func() time.Time) (*look, error) {
	out := outbound.Config{Timeout: askTimeout}
	if c.Logto.CAFile != "" {
		var err error
		if out.CA, err = outbound.LoadCA(c.Logto.CAFile); err != nil {
			return nil, fmt.Errorf("logto.ca_file: %w", err)
		}
	}
	l := &look{config: c, now: now, direct: asker{outbound.New(out), now}, issuer: strings.TrimSuffix(normal(c.Logto.Endpoint), "/") + "/oidc"}
	out.Public, out.Internal = c.Logto.Endpoint, c.Logto.InternalEndpoint
	l.via = asker{outbound.New(out), now}
	return l, nil
}

// close lets go of connections.
func (l *look) close() {
	l.via.client.CloseIdleConnections()
	l.direct.client.CloseIdleConnections()
}

// normal spells an address of Logto as Logto does.
func normal(u *url.URL) string {
	n := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path}
	if port := n.Port(); port == "443" && n.Scheme == "https" || port == "80" && n.Scheme == "http" {
		n.Host = strings.TrimSuffix(n.Host, ":"+port)
	}
	return n.String()
}

const discoveryPath = "/.well-known/openid-configuration"

func (l *look) discovery(ctx context.Context) answer {
	return l.discovered.get(func() answer { return l.via.get(ctx, l.issuer+discoveryPath) })
}

// fromOutside is the discovery document as browsers would get it.
func (l *look) fromOutside(ctx context.Context) answer {
	return l.discoveredDirectly.get(func() answer { return l.direct.get(ctx, l.issuer+discoveryPath) })
}

func (l *look) keys(ctx context.Context) answer {
	return l.keySet.get(func() answer { return l.via.get(ctx, l.issuer+"/jwks") })
}

// experience is what the sign-in page is told by Logto, which tells everybody.
func (l *look) experience(ctx context.Context) answer {
	return l.signIn.get(func() answer { return l.via.get(ctx, l.base()+"/api/.well-known/sign-in-exp") })
}

// redeem tries a code that nobody was given. What Logto says to that depends on the client alone.
func (l *look) redeem(ctx context.Context) answer {
	return l.redeemed.get(func() answer {
		form := url.Values{
			"grant_type": {"authorization_code"}, "code": {"portero-doctor"}, "code_verifier": {strings.Repeat("portero-doctor-", 4)},
			"redirect_uri": {l.config.RedirectURIs()[0]},
		}
		return l.via.post(ctx, l.issuer+"/token", form, l.config.Logto.AppID, l.config.Logto.AppSecret.Reveal())
	})
}

// authorize begins a sign-in that ends at once, because nobody is signed in and nobody may be asked: it leaves nothing at
// Logto. A redirect URI that is not registered is told without a redirect.
func (l *look) authorize(ctx context.Context, client, redirectURI string) answer {
	query := url.Values{
		"client_id": {client}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {"openid"}, "prompt": {"none"},
		"state": {"portero-doctor"}, "nonce": {"portero-doctor"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	return l.via.get(ctx, l.issuer+"/auth?"+query.Encode())
}

// challenge is of a verifier that nobody uses (RFC 7636 appendix B).
const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

// endSession begins a sign-out of nobody.
func (l *look) endSession(ctx context.Context, backTo string) answer {
	query := url.Values{"client_id": {l.config.Logto.AppID}, "post_logout_redirect_uri": {backTo}}
	return l.via.get(ctx, l.issuer+"/session/end?"+query.Encode())
}

// base is logto.endpoint without a slash at its end.
func (l *look) base() string { return strings.TrimSuffix(l.issuer, "/oidc") }

// key is the key by which Logto is reached.
func (l *look) key() string {
	if l.config.Logto.InternalEndpoint != nil {
		return "logto.internal_endpoint"
	}
	return "logto.endpoint"
}

// at is where Logto is reached.
func (l *look) at() string {
	if internal := l.config.Logto.InternalEndpoint; internal != nil {
		return strings.TrimSuffix(normal(internal), "/")
	}
	return l.base()
}

// isDiscovery says whether an answer is a discovery document, of whatever issuer.
func isDiscovery(a answer) bool {
	return a.status == http.StatusOK && a.text("issuer") != "" && a.text("authorization_endpoint") != ""
}

// elsewhere is an address near logto.endpoint at which a Logto does answer; "": none is found.
func (l *look) elsewhere(ctx context.Context) string {
	return l.other.get(func() string {
		u := l.config.Logto.Endpoint
		if l.config.Logto.InternalEndpoint != nil {
			u = l.config.Logto.InternalEndpoint
		}
		swapped := map[string]string{"http": "https", "https": "http"}[u.Scheme]
		tries := []url.URL{{Scheme: swapped, Host: u.Host, Path: u.Path}, {Scheme: u.Scheme, Host: u.Host, Path: "/"}, {Scheme: swapped, Host: u.Host, Path: "/"}}
		if u.Port() != "" && u.Port() != "3001" {
			tries = append(tries, url.URL{Scheme: u.Scheme, Host: u.Hostname() + ":3001", Path: "/"})
		}
		found := make([]bool, len(tries))
		var group sync.WaitGroup
		for i, try := range tries {
			if try.String() == (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String() {
				continue
			}
			group.Go(func() {
				a := l.direct.get(ctx, strings.TrimSuffix(try.String(), "/")+"/oidc"+discoveryPath)
				// One whose certificate nobody trusts speaks TLS at least.
				found[i] = isDiscovery(a) || try.Scheme == "https" && (a.tls == tlsUnknown || a.tls == tlsOtherName || a.tls == tlsExpired)
			})
		}
		group.Wait()
		if i := slices.Index(found, true); i >= 0 {
			return tries[i].String()
		}
		return ""
	})
}

// Names of the checks to which others point.
const (
	nameEndpoint      = "logto-endpoint"
	nameIssuer        = "logto-issuer"
	nameClient        = "logto-client"
	nameManagement    = "logto-management"
	nameApplication   = "logto-application"
	nameMailgunDomain = "mailgun-domain"
)

// logtoChecks are the checks of Logto, those of its settings included. end lets go of what they hold.
func logtoChecks(o Options) (checks []check, end func()) { return logtoChecksWith(o, lookUp) }

func logtoChecksWith(o Options, resolve func(context.Context, string) ([]netip.Addr, error)) (checks []check, end func()) {
	l, err := newLook(o.Config, o.Now)
	if err != nil {
		return []check{{nameEndpoint, func(context.Context) Finding {
			return failed("certificate authorities that can be read", "the file of logto.ca_file cannot be used", "write the name of a PEM file that portero can read into logto.ca_file, or remove the key")
		}}}, func() {}
	}
	b := &backchannel{look: l, resolve: resolve}
	t := &tenant{config: o.Config, look: l, want: setup.NewDesired(o.Config)}
	return []check{
		{nameEndpoint, l.checkEndpoint},
		{nameIssuer, l.checkIssuer},
		{"logto-internal-endpoint", l.checkInternal},
		{"logto-clock", l.checkClock},
		{"logto-keys", l.checkKeys},
		{"logto-speed", l.checkSpeed},
		{nameClient, l.checkClient},
		{"logto-redirect-uris", l.checkRedirectURIs},
		{"logto-post-logout-uris", l.checkPostLogoutURIs},
		{"logto-email-sign-in", l.checkEmailSignIn},
		{"logto-registration", l.checkRegistration},
		{"logto-refresh-tokens", l.checkOfflineAccess},
		{"backchannel-address", b.checkAddress},
		{"backchannel-answer", b.checkAnswer},
		{nameManagement, t.checkManagement},
		{nameApplication, t.checkApplication},
		{"logto-access-control", t.checkAccessControl},
		{"logto-backchannel", t.checkBackchannel},
		{"logto-refresh-lifetime", t.checkRefreshTokens},
		{"logto-unknown-session", t.checkUnknownSession},
		{"logto-connector", t.checkConnector},
		{"logto-grants", t.checkGrants},
		{"logto-drift", t.checkDrift},
	}, l.close
}
