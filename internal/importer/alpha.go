package importer

import (
	"fmt"
	"slices"
	"strings"
)

// alpha reads oauth2-proxy's structured configuration. What is there and not read is told.
func (d *oauth) alpha(root *tree) {
	for _, name := range root.names {
		section := root.fields[name]
		switch name {
		case "upstreamConfig":
			d.alphaUpstreams(section)
		case "injectRequestHeaders":
			d.told = true
			d.alphaHeaders(name, section)
		case "injectResponseHeaders":
			d.told = true
			d.alphaHeaders(name, section)
			d.note(name, "these headers went to a proxy in front; they go to the application")
		case "server":
			d.alphaServer(section)
		case "metricsServer":
			if address := section.field("BindAddress"); address != "" && address != "-" {
				d.set(item{"admin.metrics_listen", "metricsServer.bindAddress", strings.TrimPrefix(address, "http://")})
			}
			d.others(name, section, "bindAddress", "BindAddress")
		case "providers":
			d.alphaProviders(section)
		default:
			d.note(name, "is no part of the alpha configuration that is known here; look what it did, and write it by hand")
		}
	}
	for _, name := range root.twice {
		d.note(name, "is there twice, and the first was read; keep one")
	}
}

// field is the text of a field, however its first letter is written; "" if there is none.
func (t *tree) field(name string) string {
	if f := t.below(name); f != nil {
		return f.text
	}
	return ""
}

func (t *tree) below(name string) *tree {
	if t == nil {
		return nil
	}
	for _, n := range t.names {
		if strings.EqualFold(n, name) {
			return t.fields[n]
		}
	}
	return nil
}

// others tells the fields that were not read.
func (d *oauth) others(from string, t *tree, read ...string) {
	if t == nil {
		return
	}
	for _, name := range t.names {
		if !slices.ContainsFunc(read, func(r string) bool { return strings.EqualFold(r, name) }) {
			d.note(join(from, name), "has no counterpart; look what it did, and write it by hand")
		}
	}
	for _, name := range t.twice {
		d.note(join(from, name), "is there twice, and the first was read; keep one")
	}
}

func (d *oauth) alphaServer(t *tree) {
	bind, secure, tls := t.field("bindAddress"), t.field("secureBindAddress"), t.below("tls")
	if secure != "" && secure != "-" {
		d.server("server.secureBindAddress", secure, "server.tls.cert", tls.below("cert").field("fromFile"), "server.tls.key", tls.below("key").field("fromFile"))
		if bind != "" && bind != "-" {
			d.note("server.bindAddress", "there is one listener; let the proxy in front, or nobody, ask over plain http")
		}
	} else if bind != "" && bind != "-" {
		d.listen("server.bindAddress", bind)
	}
	d.others("server", t, "bindAddress", "secureBindAddress", "tls")
	for _, name := range []string{"cert", "key"} {
		d.others("server.tls."+name, tls.below(name), "fromFile")
	}
	d.others("server.tls", tls, "cert", "key", "minVersion", "cipherSuites")
}

func (d *oauth) alphaUpstreams(t *tree) {
	d.others("upstreamConfig", t, "upstreams", "proxyRawPath")
	if t.field("proxyRawPath") == "true" {
		d.note("upstreamConfig.proxyRawPath", "paths are forwarded byte for byte, but those that can be read in two ways are refused; write paths: by-route where an application needs them")
	}
	list := t.below("upstreams")
	if list == nil {
		return
	}
	for i, u := range list.list {
		from := fmt.Sprintf("upstreams[%d]", i)
		if id := u.field("id"); id != "" {
			from += " " + id
		}
		one := upstream{
			from: from, path: u.field("path"), rewrite: u.field("rewriteTarget"), uri: u.field("uri"), timeout: u.field("timeout"),
			static: u.field("static") == "true", ownHost: u.field("passHostHeader") == "false", insecureTLS: u.field("insecureSkipTLSVerify") == "true",
		}
		d.upstreams = append(d.upstreams, one)
		d.others(from, u, "id", "path", "rewriteTarget", "uri", "timeout", "static", "staticCode", "passHostHeader", "insecureSkipTLSVerify",
			"flushInterval", "proxyWebSockets", "disableKeepAlives")
	}
}

// alphaHeaders reads headers that carry one claim. Those with secrets, with tokens or made of several parts are told.
func (d *oauth) alphaHeaders(section string, t *tree) {
	for i, h := range t.list {
		name := h.field("name")
		from := fmt.Sprintf("%s[%d] %s", section, i, name)
		values := h.below("values")
		d.others(from, h, "name", "values", "preserveRequestValue", "InsecureSkipHeaderNormalization")
		if h.field("preserveRequestValue") == "true" {
			d.note(from, "a client's own header of that name was passed on; it is removed")
		}
		if values == nil || len(values.list) != 1 {
			d.note(from, "has several values or none, and a header has one; let the application read several headers")
			continue
		}
		source := values.list[0]
		if inner := source.below("claimSource"); inner != nil {
			source = inner
		}
		claim := source.field("claim")
		switch {
		case claim == "":
			d.note(from, "is the same for everybody and may be a secret, so it is not copied; let the application know it by itself")
		case source.field("prefix") != "" || source.below("basicAuthPassword") != nil:
			d.note(from, "puts something before the value, which no header can; let the application take the bare value")
		case slices.Contains([]string{"access_token", "id_token", "refresh_token", "created_at", "expires_on"}, claim):
			d.note(from, "carries a token or a time of the session, which no header does; see access_token of a route, or identity.assertion")
		case d.hasHeader(name):
			d.note(from, "is there already; the first counts")
		default:
			claims, known := oauthClaims[claim]
			if !known {
				claims = []string{claim}
				d.note(from, "portero check says whether Logto has the claim")
			}
			d.addHeader(header{name: name, claims: claims, join: joinOf(claim), from: from})
		}
	}
}

// alphaProviders tells that Logto takes the place, and keeps what restricted who came in.
func (d *oauth) alphaProviders(t *tree) {
	for i, p := range t.list {
		from := fmt.Sprintf("providers[%d]", i)
		d.note(from, "%s", theProvider)
		if tenant := p.below("azureConfig").field("tenant"); tenant != "" {
			d.note(join(from, "azureConfig.tenant"), "%s", oauthOptions["azure_tenant"].text)
		}
		d.restrict(from, p)
	}
}

// providerOptions restrict nobody.
var providerOptions = strings.Fields(`id provider name clientid clientsecret clientsecretfile cafiles usesystemtruststore loginurl redeemurl profileurl
	skipclaimsfromprofileurl resource validateurl scope code_challenge_method codechallengemethod backendlogouturl authrequestresponsemode loginurlparameters
	tenant issuerurl insecureallowunverifiedemail insecureskipissuerverification insecureskipnonce skipdiscovery jwksurl useridclaim emailclaim groupsclaim
	audienceclaims extraaudiences publickeyfiles enabledsigningalgs token jwtkey jwtkeyfile pubjwkurl adminemail serviceaccountjson
	useapplicationdefaultcredentials targetprincipal useorganizationid adminapiuserscope graphgroupfield federatedtokenauth additionalclaims skipscope`)

// providerGroups restrict: one of the groups that they name is needed.
var providerGroups = strings.Fields(`allowedgroups groups group roles allowedroles org team repo users projects repository allowedtenants`)

// restrict makes roles of the groups in a provider. An option that is not known may restrict too: a role of its name takes
// its place, and not of its value, which may be a secret.
func (d *oauth) restrict(from string, t *tree) {
	for _, name := range t.names {
		value, below, folded := t.fields[name], join(from, name), strings.ToLower(name)
		var groups []string
		for _, element := range append(slices.Clone(value.list), value) {
			if element.text != "" {
				groups = append(groups, element.text)
			}
		}
		switch {
		case slices.Contains(providerOptions, folded):
		case len(value.fields) > 0:
			d.restrict(below, value)
		case len(groups) == 0 && len(value.list) == 0:
		case slices.Contains(providerGroups, folded) && len(groups) > 0:
			d.needed = append(d.needed, d.roles(below, groups))
		default:
			d.note(below, "is not known here and may say who comes in, so a role of its name takes the place; look what it did, and write allow")
			d.needed = append(d.needed, d.roles(below, []string{name}))
		}
	}
	for _, name := range t.twice {
		d.note(join(from, name), "is there twice, and the first was read; keep one")
	}
}
