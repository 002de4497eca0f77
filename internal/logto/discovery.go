package logto

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/logto-io/go/v2/core"
)

// Metadata is Logto's discovery document after every check: endpoints are on the configured endpoint's origin. It is
// shared by all who ask, and must not be changed.
type Metadata struct {
	Issuer                string
	AuthorizationEndpoint string
	TokenEndpoint         string
	KeysEndpoint          string
	UserinfoEndpoint      string // "": not offered
	EndSessionEndpoint    string // "": not offered
	RevocationEndpoint    string // "": not offered
	// IssuerInResponse: authorization responses carry `iss`, and one without it is to be refused (RFC 9207 2.4).
	IssuerInResponse bool
	// BackchannelLogout and BackchannelLogoutSession: Logto sends logout tokens, and with a `sid`.
	BackchannelLogout, BackchannelLogoutSession bool
}

// Discover returns Logto's metadata. It is fetched at most once an hour, in the background once there is some, and
// kept for a day while Logto is away. After a failure no new try is made for a second, growing to half a minute.
// Errors match ErrUnavailable.
func (p *Provider) Discover(ctx context.Context) (*Metadata, error) {
	m, _, err := p.discovery.get(ctx)
	if err != nil {
		return nil, unavailable(callDiscovery, err)
	}
	return m, nil
}

func (p *Provider) fetchMetadata(ctx context.Context) (*Metadata, error) {
	m, err := p.callDiscovery(ctx)
	p.noteFetch(callDiscovery, err)
	return m, err
}

func (p *Provider) callDiscovery(ctx context.Context) (*Metadata, error) {
	call := p.newCall(ctx, callDiscovery)
	defer call.end()
	call.normal = discoveryMembers
	doc, err := core.FetchOidcConfig(call.client(), p.issuer+"/.well-known/openid-configuration")
	if err != nil {
		return nil, call.failed(err)
	}
	return p.checkMetadata(doc, call.members)
}

// discoveryMembers are the members the SDK reads; it gets these and no others, spelled exactly.
func discoveryMembers(o object) (map[string]any, error) {
	out := map[string]any{}
	for _, name := range []string{
		"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint", "revocation_endpoint",
	} {
		text, err := o.text(name)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

// checkMetadata refuses a document of another issuer, and endpoints that lie anywhere but on the configured origin.
func (p *Provider) checkMetadata(doc core.OidcConfigResponse, o object) (*Metadata, error) {
	// OpenID Connect Discovery 1.0 4.3: the issuer must be exactly the one that was asked.
	if doc.Issuer != p.issuer {
		return nil, fmt.Errorf("%w: the discovery document is for another issuer than %s; check logto.endpoint", errMalformed, p.issuer)
	}
	m := &Metadata{Issuer: p.issuer}
	for _, e := range []struct {
		name, value string
		to          *string
		required    bool
	}{
		{"authorization_endpoint", doc.AuthorizationEndpoint, &m.AuthorizationEndpoint, true},
		{"token_endpoint", doc.TokenEndpoint, &m.TokenEndpoint, true},
		{"jwks_uri", doc.JwksUri, &m.KeysEndpoint, true},
		{"userinfo_endpoint", doc.UserinfoEndpoint, &m.UserinfoEndpoint, false},
		{"end_session_endpoint", doc.EndSessionEndpoint, &m.EndSessionEndpoint, false},
		{"revocation_endpoint", doc.RevocationEndpoint, &m.RevocationEndpoint, false},
	} {
		if e.value == "" && !e.required {
			continue
		}
		checked, err := p.endpoint(e.value)
		if err != nil {
			return nil, fmt.Errorf("%w: discovery document: %s: %w", errMalformed, e.name, err)
		}
		*e.to = checked
	}
	m.IssuerInResponse = o.flag("authorization_response_iss_parameter_supported")
	m.BackchannelLogout = o.flag("backchannel_logout_supported")
	m.BackchannelLogoutSession = o.flag("backchannel_logout_session_supported")
	return m, nil
}

// endpoint checks one URL of the document and returns it on the configured endpoint's origin. The messages do not
// quote it: whoever wrote the document is not known yet.
func (p *Provider) endpoint(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("is missing")
	}
	if len(raw) > 2048 || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", errors.New("is no URL")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return "", errors.New("is no absolute URL")
	}
	if u.User != nil || u.Fragment != "" || strings.Contains(raw, "#") {
		return "", errors.New("has user information or a fragment")
	}
	if origin := originOf(u); origin != originOf(p.config.Endpoint) && (p.config.Internal == nil || origin != originOf(p.config.Internal)) {
		return "", errors.New("is not on the origin of logto.endpoint")
	}
	issuer, err := url.Parse(p.issuer)
	if err != nil {
		return "", err
	}
	u.Scheme, u.Host = issuer.Scheme, issuer.Host
	return u.String(), nil
}

// originOf is RFC 6454's origin as a string. Schemes other than http and https have none that equals anything.
func originOf(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	switch {
	case scheme != "http" && scheme != "https":
		return ""
	case port == "" && scheme == "https":
		port = "443"
	case port == "":
		port = "80"
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
