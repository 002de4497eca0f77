package doctor

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The bounds between ok, a warning and failed.
const (
	clockWarning = 30 * time.Second
	clockFailed  = 60 * time.Second // how far Logto's clock may be ahead when an ID token is checked
	slowWarning  = time.Second
	slowFailed   = 3 * time.Second // how long somebody who opens a page is kept waiting for Logto

	leastRSA = 2048
)

// checkEndpoint: is Logto where the gateway looks for it?
func (l *look) checkEndpoint(ctx context.Context) Finding {
	a := l.discovery(ctx)
	expected := fmt.Sprintf("Logto at %s", l.at())
	key := l.key()
	switch {
	case isDiscovery(a):
		return ok("Logto answers at %s", l.at())
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return failed(expected, fmt.Sprintf("status %d", a.status), "Logto is there and does not work, or what stands in front of it does not reach it: look at its log")
	}
	seen, remedy := a.problem, ""
	switch {
	case a.redirect:
		seen = "a redirect"
	case a.status == http.StatusMisdirectedRequest:
		seen = "status 421: what answers there is not meant by that name"
	case a.status == http.StatusOK && a.page:
		seen = "a web page where Logto's discovery document should be"
	case a.status != 0:
		seen = fmt.Sprintf("status %d where Logto's discovery document should be", a.status)
	}
	switch a.tls {
	case tlsUnknown:
		remedy = "write the PEM file of the authority that signed it into logto.ca_file, or give Logto a certificate that everybody trusts"
		if l.config.Logto.CAFile != "" {
			remedy = "logto.ca_file has another authority's certificate, and with it no other is trusted: write the file of the one that signed Logto's, or remove the key if it is a public one"
		}
		return failed(expected+", with a certificate that is trusted", seen, remedy)
	case tlsOtherName:
		return failed(expected+", with a certificate for that name", seen, "write the name that the certificate has into "+key+", or give Logto a certificate for this one")
	case tlsExpired:
		return failed(expected+", with a certificate that is valid now", seen, "renew Logto's certificate; if it is valid, set the clock of this machine")
	}
	if other := l.elsewhere(ctx); other != "" {
		return failed(expected, seen, "Logto answers at "+other+": write "+key+": "+other)
	}
	internal := l.config.Logto.InternalEndpoint
	switch {
	case internal != nil && isDiscovery(l.fromOutside(ctx)):
		remedy = "Logto answers at " + l.base() + ", so remove logto.internal_endpoint, or write the address at which this machine reaches the same Logto"
	case internal != nil:
		remedy = "write into logto.internal_endpoint the address at which this machine reaches Logto, and into logto.endpoint the one that browsers use"
	case a.status != 0:
		remedy = "write the tenant's address into logto.endpoint, as the application's page in Logto's console shows it as endpoint (without /oidc, and not the console's own address)"
	default:
		remedy = "start Logto, or write its address into logto.endpoint; where this machine reaches it at another address than browsers do, write that one into logto.internal_endpoint"
	}
	return failed(expected, seen, remedy)
}

// checkIssuer: does Logto call itself what browsers and tokens will have to say?
func (l *look) checkIssuer(ctx context.Context) Finding {
	a := l.discovery(ctx)
	if !isDiscovery(a) {
		return see(nameEndpoint)
	}
	issuer := a.text("issuer")
	if issuer == l.issuer {
		return ok("Logto calls itself %s", l.issuer)
	}
	shown := showURL(issuer)
	expected, seen := "the issuer "+l.issuer, "the issuer "+shown
	internal := l.config.Logto.InternalEndpoint
	u, err := url.Parse(issuer)
	switch {
	case internal != nil && issuer == strings.TrimSuffix(normal(internal), "/")+"/oidc" && isDiscovery(l.fromOutside(ctx)) && l.fromOutside(ctx).text("issuer") == issuer:
		return failed(expected, seen, "logto.endpoint and logto.internal_endpoint are mixed up: swap them; logto.endpoint is the one that browsers use")
	case internal != nil && isDiscovery(l.fromOutside(ctx)) && l.fromOutside(ctx).text("issuer") == l.issuer:
		return failed(expected, seen, "logto.internal_endpoint leads to another Logto than logto.endpoint: write the address at which this machine reaches the same one, or remove it")
	case internal != nil && issuer == strings.TrimSuffix(normal(internal), "/")+"/oidc":
		return failed(expected, seen, "Logto takes the internal address for its own: set ENDPOINT="+l.base()+" and TRUST_PROXY_HEADER=1 in Logto's environment and start it again; or, if the two are mixed up, swap logto.endpoint and logto.internal_endpoint")
	case err == nil && u.Scheme == "http" && l.config.Logto.Endpoint.Scheme == "https":
		return failed(expected, seen, "Logto does not know that a proxy in front of it ends TLS: set TRUST_PROXY_HEADER=1 and ENDPOINT="+l.base()+" in Logto's environment and start it again; the proxy has to send X-Forwarded-Proto")
	case shown == unshown:
		return failed(expected, "an issuer that is no plain URL", "write the tenant's address into logto.endpoint, and set ENDPOINT to the same in Logto's environment")
	}
	right := strings.TrimSuffix(shown, "/oidc") + "/"
	return failed(expected, seen, "if browsers reach Logto at "+right+", write logto.endpoint: "+right+"; else set ENDPOINT="+l.base()+" and TRUST_PROXY_HEADER=1 in Logto's environment and start it again")
}

// issuerFits says whether what Logto says about itself is near enough for other checks to mean the same Logto.
func (l *look) issuerFits(ctx context.Context) bool {
	if l.config.Logto.InternalEndpoint != nil {
		return l.discovery(ctx).text("issuer") == l.issuer
	}
	u, err := url.Parse(l.discovery(ctx).text("issuer"))
	return err == nil && strings.EqualFold(u.Hostname(), l.config.Logto.Endpoint.Hostname())
}

// without says why the checks that need Logto's own endpoints cannot be made. skip: they cannot.
func (l *look) without(ctx context.Context) (_ Finding, skip bool) {
	switch {
	case !isDiscovery(l.discovery(ctx)):
		return see(nameEndpoint), true
	case !l.issuerFits(ctx):
		return see(nameIssuer), true
	}
	return Finding{}, false
}

// checkInternal: do logto.endpoint and logto.internal_endpoint lead to the same Logto?
func (l *look) checkInternal(ctx context.Context) Finding {
	if l.config.Logto.InternalEndpoint == nil {
		return ok("logto.internal_endpoint is not used")
	}
	if f, skip := l.without(ctx); skip {
		return f
	}
	outside := l.fromOutside(ctx)
	expected := "the same Logto at logto.endpoint and at logto.internal_endpoint"
	switch {
	case outside.status == 0 || outside.tls != tlsFine:
		return skipped("this machine does not reach "+l.base()+" ("+outside.problem+"), which only browsers need", "open "+l.base()+"/oidc"+discoveryPath+" in a browser")
	case !isDiscovery(outside):
		return failed(expected, "something else than Logto at "+l.base(), "write the address that browsers use into logto.endpoint")
	case outside.text("issuer") != l.issuer:
		return failed(expected, "another one at logto.endpoint, which calls itself "+showURL(outside.text("issuer")), "write the same Logto's two addresses into logto.endpoint and logto.internal_endpoint")
	}
	inside, direct := keyIDs(l.keys(ctx)), keyIDs(l.direct.get(ctx, l.issuer+"/jwks"))
	if len(inside) > 0 && len(direct) > 0 && !slices.ContainsFunc(inside, func(id string) bool { return slices.Contains(direct, id) }) {
		return failed(expected, "two with different signing keys", "write the same Logto's two addresses into logto.endpoint and logto.internal_endpoint")
	}
	return ok("logto.endpoint and logto.internal_endpoint lead to the same Logto")
}

// checkClock compares our clock with the one of Logto, or of what stands in front of it.
func (l *look) checkClock(ctx context.Context) Finding {
	a := l.discovery(ctx)
	switch {
	case a.status == 0:
		return see(nameEndpoint)
	case a.date.IsZero():
		return skipped("Logto's answers have no Date that can be read", "compare the clocks of the two machines yourself")
	}
	off := clockOff(a)
	apart := off.Abs()
	// A Date has whole seconds, and was written at some moment of the round trip.
	sure := apart - a.took()/2 - 500*time.Millisecond
	seen := "within what can be measured"
	side := "ahead of"
	if off < 0 {
		side = "behind"
	}
	if sure > 0 {
		seen = fmt.Sprintf("Logto's clock is %s %s ours", span(apart), side)
	}
	expected := "clocks that agree within " + clockWarning.String()
	remedy := "set the clocks of both machines by NTP, as by: timedatectl set-ntp true"
	switch {
	case sure >= clockFailed:
		return failed(expected, seen, remedy+"; tokens are refused until then")
	case sure >= clockWarning:
		return warning(expected, seen, remedy+"; from "+clockFailed.String()+" on tokens are refused")
	}
	return ok("our clock and Logto's agree (%s)", seen)
}

// clockOff is how far Logto's clock is ahead of ours.
func clockOff(a answer) time.Duration {
	middle := a.asked.Add(a.took() / 2)
	return a.date.Add(500 * time.Millisecond).Sub(middle)
}

// span writes a duration in seconds, or in larger units where seconds say little.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", math.Round(d.Seconds()))
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

// checkKeys: is there a key that an ID token can be verified with?
func (l *look) checkKeys(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	a := l.keys(ctx)
	expected := "a key set with a key for ES384 or RS256 at " + l.issuer + "/jwks"
	list, isList := a.object["keys"].([]any)
	switch {
	case a.problem != "":
		return failed(expected, a.problem, "let this machine reach "+l.issuer+"/jwks, as it does the discovery document")
	case a.status != http.StatusOK || !isList:
		return failed(expected, fmt.Sprintf("status %d and no key set", a.status), "what stands in front of Logto has to pass /oidc/jwks on to it, unchanged")
	}
	var usable []string
	for _, entry := range list {
		if algorithm := algorithmOf(entry); algorithm != "" {
			usable = append(usable, algorithm)
		}
	}
	if len(usable) == 0 {
		return failed(expected, fmt.Sprintf("%d keys, none for ES384, RS256, ES256 or ES512", len(list)), "rotate the signing key in Logto's console (Tenant settings, OIDC configs), to EC or RSA")
	}
	return ok("ID tokens are signed with %s", strings.Join(slices.Compact(usable), ", "))
}

// algorithmOf is the algorithm that a key of a set (RFC 7517) is for; "": none that is accepted.
func algorithmOf(entry any) string {
	k, _ := entry.(map[string]any)
	text := func(name string) string { s, _ := k[name].(string); return s }
	if use := text("use"); use != "" && use != "sig" {
		return ""
	}
	algorithm := ""
	switch text("kty") {
	case "EC":
		algorithm = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[text("crv")]
	case "RSA":
		if n, err := base64.RawURLEncoding.DecodeString(text("n")); err == nil && len(n) >= leastRSA/8 {
			algorithm = "RS256"
		}
	}
	if named := text("alg"); named != "" && named != algorithm {
		return ""
	}
	return algorithm
}

func keyIDs(a answer) []string {
	var ids []string
	list, _ := a.object["keys"].([]any)
	for _, entry := range list {
		k, _ := entry.(map[string]any)
		if id, _ := k["kid"].(string); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// checkSpeed: does Logto answer before people turn away?
func (l *look) checkSpeed(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	took := l.discovery(ctx).took()
	expected, seen := "an answer of Logto within "+slowWarning.String(), fmt.Sprintf("%.1f s", took.Seconds())
	remedy := "look at the load of Logto and of its database, and at the way to it (" + l.key() + ")"
	switch {
	case took >= slowFailed:
		return failed(expected, seen, remedy+"; people who want to sign in are shown that it is unavailable")
	case took >= slowWarning:
		return warning(expected, seen, remedy)
	}
	return ok("Logto answers in %d ms", took.Milliseconds())
}

// unshown stands for a URL of somebody else's that is not repeated.
const unshown = "(not shown)"

// showURL repeats a URL of somebody else's as far as it is one: scheme, host and a short path of plain segments.
func showURL(text string) string {
	u, err := url.Parse(text)
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || strings.ContainsRune(".-:[]/_", c)
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(text) > 200 ||
		strings.ContainsFunc(u.Host+u.Path, func(c rune) bool { return !plain(c) }) {
		return unshown
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
