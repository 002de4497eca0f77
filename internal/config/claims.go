package config

import (
	"fmt"
	"slices"
	"strings"
)

// source says where a claim comes from.
type source struct {
	scope    string // in the configuration's words. Empty: it is always there
	userinfo bool   // it is in userinfo's answer and never in the ID token
}

// claimSources are the claims that Logto can supply. // :: first part of the claim's path → where it comes from
var claimSources = func() map[string]source {
	m := map[string]source{
		"roles":              {scope: "roles"},
		"organizations":      {scope: "organizations"},
		"organization_roles": {scope: "organization_roles"},
		"organization_data":  {scope: "organizations", userinfo: true},
		"custom_data":        {scope: "custom_data", userinfo: true},
		"identities":         {scope: "identities", userinfo: true},
		"sso_identities":     {scope: "identities", userinfo: true},
		"address":            {scope: "address"},
	}
	for scope, claims := range map[string]string{
		"": "sub iss aud exp iat nbf auth_time nonce at_hash sid",
		"profile": "name given_name family_name middle_name nickname preferred_username profile picture website gender birthdate " +
			"zoneinfo locale updated_at username created_at",
		"email": "email email_verified",
		"phone": "phone_number phone_number_verified",
	} {
		for _, claim := range strings.Fields(claims) {
			m[claim] = source{scope: scope}
		}
	}
	return m
}()

// logtoScope is Logto's own name of a scope.
func logtoScope(scope string) string {
	switch scope {
	case "organizations", "organization_roles":
		return "urn:logto:scope:" + scope
	}
	return scope
}

// sourceOf finds where a claim comes from. A claim with a dot in its name would be found under its whole name first.
func sourceOf(claim string) (source, bool) {
	if s, ok := claimSources[claim]; ok {
		return s, true
	}
	first, _, _ := strings.Cut(claim, ".")
	s, ok := claimSources[first]
	return s, ok
}

// deriveScopes finds which scopes rules and headers need, and names the claims that nobody can supply.
func (d *decoder) deriveScopes(c *Config) {
	l := &c.Logto
	final := []string{"openid", "offline_access", "profile"}
	add := func(scope string) {
		if scope = logtoScope(scope); scope != "" && !slices.Contains(final, scope) {
			final = append(final, scope)
		}
	}
	for _, scope := range l.Scopes {
		add(scope)
	}
	needed := map[string]bool{}
	use := func(claim string) {
		if s, ok := sourceOf(claim); ok {
			needed[s.scope] = true
			l.needsUserinfo = l.needsUserinfo || s.userinfo
		}
	}
	for _, r := range c.Routes {
		if r.Access != AccessSignedIn && r.Access != AccessOptional {
			continue
		}
		if r.AccessToken.Organization != "" {
			use("organizations") // without the scope Logto gives no such token
		}
		for _, h := range r.Identity.Headers {
			for _, claim := range h.Claim {
				use(claim)
			}
		}
		if r.Identity.Asserts() {
			use("email")
			use("roles")
		}
		for _, rule := range r.Allow {
			if len(rule.Emails)+len(rule.EmailDomains) > 0 {
				use("email")
			}
			if len(rule.Roles) > 0 {
				use("roles")
			}
			if len(rule.Organizations) > 0 {
				use("organizations")
			}
			if len(rule.OrganizationRoles) > 0 {
				use("organization_roles")
			}
			for _, claim := range rule.Claims {
				use(claim.Name)
			}
			if p := d.expressions[rule.Expression]; p != nil {
				claims, _ := p.Claims()
				for _, claim := range claims {
					use(claim)
				}
			}
		}
	}
	order := make([]string, 0, len(needed))
	for scope := range needed {
		order = append(order, scope)
	}
	slices.Sort(order)
	for _, scope := range order {
		add(scope)
	}
	l.finalScopes = final
}

// tokenClaims are the claims that access tokens of API clients have, and ID tokens have not.
var tokenClaims = []string{"client_id", "jti", "scope", "scopes"}

// warnAboutClaim names a claim that no source can supply.
func (d *decoder) warnAboutClaim(path, claim string) {
	if _, ok := sourceOf(claim); ok || claim == "" || d.takesTokens && slices.Contains(tokenClaims, claim) {
		return
	}
	known := make([]string, 0, len(claimSources))
	for name := range claimSources {
		known = append(known, name)
	}
	slices.Sort(known)
	write := "write one that Logto has, or custom_data." + claim
	if near := nearest(claim, known); near != "" {
		write = "did you mean " + near + "?"
	}
	d.warn(path, "the claim %s is supplied by nobody: no scope of Logto brings it; %s", quote(claim), write)
}

// checkHeaders checks the headers that tell an upstream who somebody is.
func (d *decoder) checkHeaders(path string, headers []Header) {
	seen := map[string]string{} // :: folded name → key of the header that has it
	for i, h := range headers {
		at := fmt.Sprintf("%s[%d]", path, i)
		name := fold(h.Name)
		switch {
		case !d.ok(at) || !d.ok(at+".name"):
		case h.Name == "":
			d.problem(at+".name", "is missing; write the name of the header, like X-Forwarded-User")
		case !isToken(h.Name):
			d.problem(at+".name", "%s is no name of a header; write letters, digits and dashes", quote(h.Name))
		case isReserved(name):
			d.problem(at+".name", "%s has a meaning of its own and cannot carry an identity; write another name, like X-Forwarded-User", h.Name)
		case seen[name] != "":
			d.problem(at+".name", "%s reads like the name of %s to many applications, which take - _ . for one another; write another name", h.Name, seen[name])
		default:
			seen[name] = at
		}
		switch {
		case !d.ok(at) || !d.ok(at+".claim"):
		case len(h.Claim) == 0:
			d.problem(at+".claim", "is missing; write the claim that the header carries, like email")
		}
		for j, claim := range h.Claim {
			d.warnAboutClaim(fmt.Sprintf("%s.claim[%d]", at, j), claim)
			if root, _, _ := strings.Cut(claim, "."); (root == "name" || root == "username" || root == "nickname") && j == 0 && namesUser(name) {
				d.warn(at+".claim", "%s is a claim that people may change themselves, and %s is what applications take for the account; write sub or email", quote(claim), h.Name)
			}
		}
		if d.ok(at) && d.ok(at+".max_bytes") && (h.MaxBytes < 1 || h.MaxBytes > maxHeaders) {
			d.problem(at+".max_bytes", "%d is not from 1 to %d, which is what all headers have together; write a number between", h.MaxBytes, maxHeaders)
		}
		if d.ok(at) && d.ok(at+".join") && !separates(h.Encoding, h.Join) {
			d.problem(at+".join", "%s cannot be told from the values that it stands between; write \",\"", quote(h.Join))
		}
	}
}

// separates agrees with package assertion: a value in this encoding has none of these characters, or escapes them.
func separates(encoding, join string) bool {
	if join == "" || len(join) > 4 || strings.Trim(join, " ") == "" && join != " " || strings.ContainsFunc(join, func(r rune) bool {
		return r < ' ' || r > '~' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}) {
		return false
	}
	switch encoding {
	case EncodingPercent:
		return !strings.Contains(join, "%")
	case EncodingBase64:
		return !strings.ContainsAny(join, "+/=")
	case EncodingRFC2047:
		return !strings.ContainsAny(join, "+/=?") && join != " "
	}
	return true
}

// namesUser says whether applications take the header for the account that somebody has.
func namesUser(folded string) bool {
	switch folded {
	case "remote-user", "x-remote-user", "x-forwarded-user", "x-auth-request-user", "x-webauth-user", "x-auth-user", "x-user":
		return true
	}
	return false
}

// fold is a header's name as careless applications read it, as package assertion compares names.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return '-'
	}, lowerASCII(name))
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// reserved are the headers, folded, that frame or route a request, say where it came from, or carry other credentials.
var reserved = strings.Fields(`host connection keep-alive te trailer transfer-encoding upgrade via date expect from range
	cookie cookie2 set-cookie set-cookie2 authorization www-authenticate origin referer user-agent age allow location server
	cache-control pragma vary etag forwarded http2-settings alt-svc priority early-data max-forwards
	x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-by x-forwarded-server x-forwarded-uri
	x-forwarded-url x-forwarded-method x-forwarded-prefix x-forwarded-path x-forwarded-scheme x-forwarded-ssl x-forwarded-protocol
	x-forwarded-client-cert x-real-ip x-request-id x-client-ip x-cluster-client-ip x-scheme x-url-scheme true-client-ip cf-connecting-ip
	front-end-https x-http-method x-http-method-override x-method-override traceparent tracestate baggage client-ip
	x-forwarded x-forwarded-client-ip forwarded-for fastly-client-ip x-remote-ip x-remote-addr x-originating-ip x-proxyuser-ip
	x-azure-clientip x-azure-socketip x-appengine-user-ip x-envoy-external-address x-envoy-original-path wl-proxy-client-ip x-host
	x-http-host-override x-portero-assertion x-pomerium-jwt-assertion
	portero-code proxy-status clear-site-data strict-transport-security`)

func isReserved(folded string) bool {
	if slices.Contains(reserved, folded) || folded == "proxy" {
		return true
	}
	for _, prefix := range []string{"content-", "accept", "if-", "sec-", "proxy-", "access-control-", "x-original-", "x-rewrite-", "transfer-", "cf-"} {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	return false
}
