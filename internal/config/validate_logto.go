package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strings"
)

func (d *decoder) checkLogto(c *Config) {
	l := &c.Logto
	d.checkLogtoURL("logto.endpoint", l.Endpoint)
	switch {
	case !d.ok("logto.endpoint"):
	case l.Endpoint == nil:
		d.missing("logto.endpoint", "the address of your Logto tenant, like https://tenant.logto.app/")
	case needsPlainHTTP(l.Endpoint) && !c.IsInsecure(InsecurePlainHTTP):
		d.problem("logto.endpoint", "is http on a host other than localhost, so everybody on the way reads codes and tokens; write https://%s, or plain-http in `insecure`", l.Endpoint.Host)
	}
	d.checkLogtoURL("logto.internal_endpoint", l.InternalEndpoint)
	d.checkCA("logto.ca_file", l.CAFile)
	if l.AppID == "" && !d.setup {
		d.missing("logto.app_id", "the App ID that Logto's console shows, or that portero setup apply prints")
	}
	if !l.AppSecret.IsSet() && !d.setup && d.ok("logto.app_secret_file") {
		d.missing("logto.app_secret", "the App secret that Logto's console shows, or app_secret_file")
	}
	for i, scope := range l.Scopes {
		if strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) { // RFC 6749 section 3.3
			d.problem(fmt.Sprintf("logto.scopes[%d]", i), "%s is no scope; write each as an element of its own", quote(scope))
		}
	}
	for i, resource := range l.Resources {
		d.checkResource(fmt.Sprintf("logto.resources[%d]", i), resource)
	}
	d.checkExtraParams(l.SignIn.ExtraParams)
	if l.Management.Resource == "" {
		l.Management.Resource = managementResource(l.Endpoint)
	}
	m := l.Management
	d.checkResource("logto.management.resource", m.Resource)
	switch secretOK := d.ok("logto.management.app_secret") && d.ok("logto.management.app_secret_file"); {
	case !secretOK:
	case m.AppID == "" && !m.AppSecret.IsSet() && d.setup:
		d.missing("logto.management.app_id", "the App ID of a machine-to-machine application, and its App secret under app_secret "+
			"(in Logto's console: Applications, Create application, Machine-to-machine, with the role \"Logto Management API access\")")
	case m.AppID == "" && m.AppSecret.IsSet():
		d.missing("logto.management.app_id", "the App ID of the machine-to-machine application")
	case m.AppID != "" && !m.AppSecret.IsSet():
		d.missing("logto.management.app_secret", "the App secret of the machine-to-machine application, or app_secret_file")
	}
}

// managementResource is the identifier that the Management API has where nobody changed it: one for every Logto of one's own,
// the tenant's in Logto Cloud.
func managementResource(endpoint *url.URL) string {
	if endpoint != nil {
		tenant, cloud := strings.CutSuffix(endpoint.Hostname(), ".logto.app")
		if cloud && tenant != "" && !strings.Contains(tenant, ".") {
			return "https://" + tenant + ".logto.app/api"
		}
	}
	return "https://default.logto.app/api"
}

// checkResource checks an API identifier (RFC 8707 section 2).
func (d *decoder) checkResource(path, resource string) {
	if u, err := url.Parse(resource); d.ok(path) && (err != nil || !u.IsAbs() || strings.Contains(resource, "#") || strings.ContainsFunc(resource, func(r rune) bool { return r <= ' ' || r > '~' })) {
		d.problem(path, "%s is no absolute URI; write the API identifier that Logto's console shows", quote(resource))
	}
}

// checkLogtoURL checks an address of Logto and gives its path the slash at the end.
func (d *decoder) checkLogtoURL(path string, u *url.URL) {
	if u == nil || !d.ok(path) {
		return
	}
	trimmed := strings.TrimRight(u.Path, "/")
	if strings.HasSuffix(trimmed, "/oidc") {
		d.problem(path, "ends in /oidc, which is added; write %s://%s%s/", u.Scheme, u.Host, strings.TrimSuffix(trimmed, "/oidc"))
		return
	}
	if message := checkEndpoint(trimmed); message != "" {
		d.problem(path, "has a path that %s", message)
		return
	}
	u.Path, u.RawPath = trimmed+"/", ""
}

// reservedParams are the parameters of the authorization request that are ours.
var reservedParams = []string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"prompt", "max_age", "login_hint", "id_token_hint", "request", "request_uri", "registration", "resource", "client_secret", "claims",
	"first_screen", "identifier", "identifiers",
}

func (d *decoder) checkExtraParams(params []Param) {
	var seen []string
	for i, p := range params {
		path := fmt.Sprintf("logto.sign_in.extra_params[%d].name", i)
		switch {
		case !d.ok(path):
		case p.Name == "":
			d.problem(path, "is missing; write the name of the parameter")
		case slices.Contains(reservedParams, p.Name):
			d.problem(path, "%s is set by Portero itself; remove it", quote(p.Name))
		case slices.Contains(seen, p.Name):
			d.problem(path, "%s is there twice; keep one", quote(p.Name))
		}
		seen = append(seen, p.Name)
	}
}

func (d *decoder) checkMailgun(c *Config) {
	m := &c.Mailgun
	if u := m.Endpoint; d.ok("mailgun.endpoint") {
		switch {
		case u == nil:
			d.missing("mailgun.endpoint", "https://api.mailgun.net, or https://api.eu.mailgun.net")
		case onLoopback(u.Hostname()): // a mailbox for trying things out
		case !strings.HasSuffix(u.Hostname(), ".mailgun.net"):
			d.problem("mailgun.endpoint", "%s is no host of Mailgun, and would get the key; write https://api.mailgun.net or https://api.eu.mailgun.net", quote(u.Host))
		case u.Scheme != "https":
			d.problem("mailgun.endpoint", "is http, so everybody on the way reads the key; write https://%s", u.Host)
		}
	}
	if m.Domain != "" || m.APIKey.IsSet() || m.APIKeyFile != "" || m.From != "" {
		if m.Domain == "" {
			d.missing("mailgun.domain", "the sending domain, like mg.example.com")
		}
		if !m.APIKey.IsSet() && d.ok("mailgun.api_key_file") {
			d.missing("mailgun.api_key", "the sending key that Mailgun shows, or api_key_file")
		}
		if m.From == "" {
			d.missing("mailgun.from", `the sender, like "Example <no-reply@mg.example.com>"`)
		}
	}
	if m.Domain != "" && d.ok("mailgun.domain") {
		if name, message := canonicalName(m.Domain); message != "" {
			d.problem("mailgun.domain", "%s %s", quote(m.Domain), message)
		} else {
			m.Domain = name
		}
	}
	if m.From != "" && d.ok("mailgun.from") {
		if _, err := mail.ParseAddress(m.From); err != nil {
			d.problem("mailgun.from", "%s is no sender; write one like %q", quote(m.From), "Example <no-reply@mg.example.com>")
		}
	}
	d.checkDeliveries(m.Deliveries)
}

func (d *decoder) checkDeliveries(deliveries []Delivery) {
	seen := map[string]bool{}
	for i, one := range deliveries {
		path := fmt.Sprintf("mailgun.deliveries[%d]", i)
		if !d.ok(path) {
			continue
		}

		switch {
		case !d.ok(path + ".usage"):
		case one.Usage == "":
			d.problem(path+".usage", "is missing; write Register, SignIn, ForgotPassword or Generic")
		case seen[one.Usage]:
			d.problem(path+".usage", "%s is there twice; keep one", one.Usage)
		}
		seen[one.Usage] = true
		if one.Subject == "" && d.ok(path+".subject") {
			d.problem(path+".subject", "is missing; write the subject of the mail")
		}
		contentOK := d.ok(path+".html") && d.ok(path+".text") && d.ok(path+".template") && d.ok(path+".subject")
		switch {
		case !contentOK:
		case one.Template != "" && (one.HTML != "" || one.Text != ""):
			d.problem(path+".template", "excludes html and text; keep the template or the content")
		case one.Template == "" && one.HTML == "":
			d.problem(path, "has neither html nor template; write one of them")
		case one.Template == "" && !mentionsCode(one.HTML) && !mentionsCode(one.Subject):
			d.problem(path+".html", "has no code in it; write {{code}} where it belongs")
		}
		if one.ReplyTo != "" && d.ok(path+".reply_to") {
			if _, err := mail.ParseAddress(one.ReplyTo); err != nil {
				d.problem(path+".reply_to", "%s is no address; write one like help@example.com", quote(one.ReplyTo))
			}
		}
		var names []string
		for j, v := range one.Variables {
			at := fmt.Sprintf("%s.variables[%d].name", path, j)
			switch {
			case v.Name == "" && d.ok(at):
				d.problem(at, "is missing; write the name of the variable")
			case v.Name == "code":
				d.problem(at, "code is the one-time code; write another name")
			case slices.Contains(names, v.Name) && v.Name != "":
				d.problem(at, "%s is there twice; keep one", quote(v.Name))
			}
			names = append(names, v.Name)
		}
	}
}

// mentionsCode says whether {{code}} stands in a text, with blanks inside the braces or without.
func mentionsCode(s string) bool {
	for {
		i := strings.Index(s, "{{")
		if i < 0 {
			return false
		}
		if name, _, ok := strings.Cut(s[i+2:], "}}"); ok && strings.TrimSpace(name) == "code" {
			return true
		}
		s = s[i+1:] // perhaps a name begins one brace later
	}
}
