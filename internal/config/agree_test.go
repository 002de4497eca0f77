package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/access"
	"portero/internal/assertion"
	"portero/internal/config"
	"portero/internal/mail"
	"portero/internal/page"
	"portero/internal/route"
)

// The parts check what they are given once more, without lines and remedies. These tests see to it that they never have to:
// what a part refuses, Load has refused.

func TestHeadersThatAssertionRefusesAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields(`X-User X_User Remote-User X-Forwarded-User X-Forwarded-Department X-WEBAUTH-USER
		Host Connection Upgrade Expect Cookie Cookie2 Set-Cookie Authorization WWW-Authenticate Via Origin Referer User-Agent Range Date Age Vary
		Location Server Cache-Control Pragma Traceparent Tracestate Baggage Priority Early-Data Alt-Svc X-Portero-Assertion
		X-Pomerium-Jwt-Assertion X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Server X-Forwarded-Scheme
		X-Forwarded-Protocol X-Forwarded-Ssl X-Forwarded-Prefix X-Forwarded-Path X-Forwarded-Uri X-Forwarded-Url X-Forwarded-Method
		X-Forwarded-By X-Forwarded-Client-Cert X-Forwarded-Client-Ip Content-Length Content-Type Transfer-Encoding Transfer_Encoding Accept
		Accept-Language If-Match Sec-Fetch-Mode Access-Control-Allow-Origin Proxy Proxy-Authorization X-Real-IP x.real.ip Forwarded Forwarded-For
		X-Forwarded True-Client-Ip CF-Connecting-IP CF-Connecting-IPv6 CF-Pseudo-IPv4 Fastly-Client-Ip X-Client-Ip Client-Ip X-Cluster-Client-Ip
		X-Remote-Ip X-Remote-Addr X-Originating-Ip X-Proxyuser-Ip X-Azure-Clientip X-Azure-Socketip X-Appengine-User-Ip
		X-Envoy-External-Address WL-Proxy-Client-Ip Proxy-Client-Ip X-Scheme X-Url-Scheme Front-End-Https X-Host X-Http-Host-Override
		X-Envoy-Original-Path X-Http-Method-Override X-Http-Method X-Method-Override X-Request-Id Keep-Alive TE Trailer HTTP2-Settings
		X-Original-Uri X-Rewrite-Url X-Original-Forwarded-For`) {
		_, part := assertion.NewSet([]assertion.Header{{Name: name, Claims: []string{"sub"}, Join: ","}})
		_, err := load(t, with("identity: {headers: [{name: "+name+", claim: sub}]}"))
		if part != nil && err == nil {
			t.Errorf("%s: the configuration takes it, and package assertion says %v", name, part)
		}
	}
	for _, join := range []string{",", ";", " ", ", ", "|", "a", "%", "/", "=", "é", "12345", "-----", "  "} {
		for i, encoding := range []string{"strict", "percent", "base64", "rfc2047"} {
			_, part := assertion.NewSet([]assertion.Header{{Name: "X-User", Claims: []string{"sub"}, Join: join, Encoding: assertion.Encoding(i)}})
			_, err := load(t, with(fmt.Sprintf("identity: {headers: [{name: X-User, claim: sub, encoding: %s, join: %q}]}", encoding, join)))
			if (part == nil) != (err == nil) {
				t.Errorf("join %q, %s: package assertion says %v, the configuration %v", join, encoding, part, err)
			}
		}
	}
}

// A preset is the same for the configuration, which prints it, as for the package that removes its headers everywhere.
func TestPresetsAreThoseOfAssertion(t *testing.T) {
	t.Parallel()
	for _, preset := range []string{"", config.PresetRemoteUser, config.PresetAuthRequest, config.PresetPomerium, config.PresetGrafana, config.PresetNone} {
		c, err := load(t, with(fmt.Sprintf("identity: {preset: %q}", preset)))
		if err != nil {
			t.Fatal(err)
		}
		want, err := assertion.Preset(preset)
		if err != nil {
			t.Fatal(err)
		}
		got := []assertion.Header{}
		for _, h := range c.Routes[0].Identity.Headers {
			encoding, err := assertion.ParseEncoding(h.Encoding)
			if err != nil || h.Overflow != config.OverflowDrop || h.MaxBytes != assertion.DefaultMaxBytes {
				t.Errorf("preset %q: %+v (%v)", preset, h, err)
			}
			got = append(got, assertion.Header{Name: h.Name, Claims: h.Claim, Encoding: encoding, Join: h.Join})
		}
		if diff := cmp.Diff(append([]assertion.Header{}, want...), got); diff != "" {
			t.Errorf("preset %q: (-assertion +config)\n%s", preset, diff)
		}
	}
}

func TestAssertionHeadersThatAssertionRefusesAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields(`X-Jwt X-Portero-Assertion x-portero-assertion X-Pomerium-Jwt-Assertion X_Jwt X-Auth-Jwt X-Forwarded-Jwt X-Forwarded-User x_forwarded_email
		Host Cookie Authorization Content-Type X-Forwarded-For X-Request-Id Proxy Sec-Jwt Te Via X-Original-Url X-Http-Method Accept-Jwt a(b`) {
		headers, err := assertion.Preset("")
		if err != nil {
			t.Fatal(err)
		}
		_, part := assertion.NewSet(headers, name)
		_, err = load(t, with(fmt.Sprintf("identity: {assertion: {enabled: true, header: %q}}", name)))
		if part != nil && err == nil {
			t.Errorf("%s: the configuration takes it, and package assertion says %v", name, part)
		}
	}
	for _, n := range []int{-1, 1, 4096, 16384, 16385} {
		_, part := assertion.NewSet([]assertion.Header{{Name: "X-User", Claims: []string{"sub"}, MaxBytes: n}})
		_, err := load(t, with(fmt.Sprintf("identity: {headers: [{name: X-User, claim: sub, max_bytes: %d}]}", n)))
		if (part == nil) != (err == nil) {
			t.Errorf("max_bytes %d: package assertion says %v, the configuration %v", n, part, err)
		}
	}
}

func TestRulesThatAccessRefusesAreRefused(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"a@example.com", "A@EXAMPLE.com", "a@", "@a", "a b@c", "a@b@c", "example.com", "@example.com", ".example.com",
		"*", "*.example.com", "example.com.", "a/b", "a:b", "mañana.example", "a,b", "a b"} {
		for _, field := range []string{"emails", "email_domains"} {
			rule := access.Rule{Emails: []string{value}}
			if field == "email_domains" {
				rule = access.Rule{EmailDomains: []string{value}}
			}
			_, part := access.NewPolicy([]access.Rule{rule})
			_, err := load(t, with("-email_domains", fmt.Sprintf("allow: [{%s: [%q]}]", field, value)))
			if (part == nil) != (err == nil) {
				t.Errorf("%s %q: package access says %v, the configuration %v", field, value, part, err)
			}
		}
	}
}

func TestRoutesThatRouteRefusesAreRefused(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/a", "/a/", "/a b", "/ñ", "a", "//a", "/a//b", "/a/../b", "/./", "/a%41", "/a*", "/a;b", "/a?b", "/a#b", `/a\b`} {
		_, part := route.NewTable([]route.Route{{Hosts: []string{"localhost"}, Path: path}})
		_, err := load(t, routes(fmt.Sprintf("  - {path: %q, upstreams: [{url: http://a:1}]}", path)))
		if (part == nil) != (err == nil) {
			t.Errorf("path %q: package route says %v, the configuration %v", path, part, err)
		}
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "PROPFIND", "ACL", "SEARCH", "BASELINE-CONTROL", "MKACTIVITY", "CONNECT", "TRACE", "get", "BREW", "Get"} {
		_, err := load(t, routes(fmt.Sprintf("  - {methods: [GET, %s], upstreams: [{url: http://a:1}]}", method)))
		if want := route.ValidMethod(method) && method != "GET"; want != (err == nil) {
			t.Errorf("method %s: package route says %v, the configuration %v", method, want, err)
		}
	}
}

func TestMailsThatMailRefusesAreRefused(t *testing.T) {
	t.Parallel()
	for _, one := range []mail.Delivery{
		{Usage: "SignIn", Subject: "a", HTML: "{{code}}"}, {Usage: "SignIn", Subject: "{{ code }}", HTML: "b"}, {Usage: "SignIn", Subject: "a", Template: "t"},
		{Usage: "SignIn", Subject: "a", HTML: "{{ codes }}"}, {Usage: "SignIn", Subject: "a", Text: "{{code}}"}, {Usage: "SignIn", Subject: "a", HTML: "{{{code}}}"},
		{Usage: "SignIn", Subject: "a", HTML: "{{code}}", Template: "t"}, {Usage: "Other", Subject: "a", Template: "t"}, {Usage: "Generic", Subject: "{{x}} {{code}}", HTML: "b"},
	} {
		_, part := mail.NewDeliveries("", []mail.Delivery{one})
		_, err := load(t, with(fmt.Sprintf("mailgun: {deliveries: [{usage: %s, subject: %q, html: %q, text: %q, template: %q}]}",
			one.Usage, one.Subject, one.HTML, one.Text, one.Template)))
		if (part == nil) != (err == nil) {
			t.Errorf("%+v: package mail says %v, the configuration %v", one, part, err)
		}
	}
}

func TestPagesWhoseTextsCanBeReplaced(t *testing.T) {
	t.Parallel()
	for id, want := range map[page.ID]bool{
		page.SignedOut: true, page.SignOut: true, page.Denied: true, page.DeniedNetwork: true, page.SignInFailed: true, page.NoCookies: true,
		page.InvitationOver: true, page.SignInUnavailable: true, page.MailUnavailable: true, page.AppUnavailable: true, page.AppSlow: true, page.Unavailable: true,
		page.BadRequest: true, page.NotFound: true, page.TooMany: true, page.FormNotSent: true, page.SignedIn: true, page.Framed: true,
		page.Waiting: true, page.StepUp: true, page.UnknownHost: false, page.SignInRequired: false,
	} {
		_, err := load(t, with(fmt.Sprintf("pages: {texts: [{page: %s, part: heading, lang: en, text: A heading}]}", id)))
		if (err == nil) != want {
			t.Errorf("%s: got %v, want taken %v", id, err, want)
		}
		_, part := page.New(page.Config{Texts: []page.Text{{Page: string(id), Part: "heading", Lang: "en", Text: "A heading"}}})
		if part == nil && err != nil {
			t.Errorf("%s: package page takes its texts, the configuration does not: %v", id, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	text := with()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := loadText(text); err != nil {
			b.Fatal(err)
		}
	}
}

func loadText(text string) (*config.Config, error) {
	return config.Load(config.Options{Path: "portero.yaml", Text: []byte(text), WorkDir: "/nonexistent"})
}
