package config

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	maxLogo = 32 << 10
	maxText = 400 // characters
)

// pageNames are the pages whose texts can be replaced. "unknown-host" shows nothing that was configured.
var pageNames = strings.Fields(`signed-out sign-out denied denied-network sign-in-failed no-cookies invitation-over sign-in-unavailable mail-unavailable
	app-unavailable app-slow unavailable bad-request not-found too-many form-not-sent signed-in framed waiting step-up account`)

var (
	colour      = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)
	markup      = regexp.MustCompile(`<[A-Za-z/!?]|&[A-Za-z#][A-Za-z0-9]*;`)
	placeholder = regexp.MustCompile(`\{[^{}]*\}?|\}`)
)

func (d *decoder) checkPages(c *Config) {
	p := &c.Pages
	for _, one := range []struct {
		path  string
		value *string
	}{{"pages.accent", &p.Accent}, {"pages.accent_dark", &p.AccentDark}} {
		if !d.ok(one.path) || *one.value == "" && one.path == "pages.accent_dark" {
			continue
		}
		if !colour.MatchString(*one.value) {
			d.problem(one.path, "%s is no colour; write one like \"#0b5cad\", in quotes", quote(*one.value))
		}
		*one.value = strings.ToLower(*one.value)
	}
	d.checkLogo("pages.logo_file", p.LogoFile)
	d.checkLogo("pages.logo_dark_file", p.LogoDarkFile)
	if p.LogoDarkFile != "" && p.LogoFile == "" && d.ok("pages.logo_file") {
		d.missing("pages.logo_file", "the logo for light, beside the one for dark")
	}
	if len(p.Languages) == 0 && d.ok("pages.languages") && !d.anyBadBelow("pages.languages") {
		d.missing("pages.languages", "[en, es], or one of them")
	}
	d.checkSupport("pages.support", p.Support)
	d.checkHomeURL(c)
	d.checkTexts(p.Texts)
}

func (d *decoder) checkLogo(path, name string) {
	if name == "" || !d.ok(path) {
		return
	}
	content, err := readLimited(name, maxLogo)
	switch {
	case err != nil:
		d.problem(path, "%s: %s", quote(name), readError(err, "32 KiB"))
	case bytes.HasPrefix(content, []byte("\x89PNG\r\n\x1a\n")):
	case utf8.Valid(content) && bytes.Contains(content, []byte("<svg")):
	default:
		d.problem(path, "%s is neither SVG nor PNG; write the name of such a file", quote(name))
	}
}

// checkHomeURL lets the start page be on our own hosts only.
func (d *decoder) checkHomeURL(c *Config) {
	home := c.Pages.HomeURL
	if home == "" || !d.ok("pages.home_url") {
		return
	}
	const write = "write a path like /start, or a URL on a host that routes name"
	u, err := url.Parse(home)
	switch {
	case err != nil || strings.ContainsAny(home, "\\ \t"):
		d.problem("pages.home_url", "%s is no address of a page; %s", quote(home), write)
	case u.Scheme == "" && u.Host == "":
		if !strings.HasPrefix(home, "/") || strings.HasPrefix(home, "//") {
			d.problem("pages.home_url", "%s does not begin with a slash; %s", quote(home), write)
		}
	case u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Opaque != "":
		d.problem("pages.home_url", "%s is no address of a page; %s", quote(home), write)
	default:
		host, _ := canonicalName(u.Hostname())
		if len(d.only) > 0 { // the routes were not read
			return
		}
		if c.ExternalURL == nil || !slices.Contains(c.Hosts(), host) || u.Scheme != c.ExternalURL.Scheme || u.Port() != c.ExternalURL.Port() {
			d.problem("pages.home_url", "%s is not on a host of ours; %s", quote(home), write)
		}
	}
}

func (d *decoder) checkTexts(list []Text) {
	seen := map[Text]bool{}
	for i, one := range list {
		path := fmt.Sprintf("pages.texts[%d]", i)
		if !d.ok(path) {
			continue
		}
		for _, part := range []struct{ name, value, write string }{
			{"page", one.Page, "the page that the text is on, like denied"},
			{"part", one.Part, "heading, lead, primary or secondary"},
			{"lang", one.Lang, "en or es"},
			{"text", one.Text, "the text"},
		} {
			if at := path + "." + part.name; part.value == "" && d.ok(at) {
				d.problem(at, "is missing; write %s", part.write)
			}
		}
		if one.Page != "" && d.ok(path+".page") && !slices.Contains(pageNames, one.Page) {
			d.problem(path+".page", "%s is no page whose texts can be replaced; %s", quote(one.Page), choice(one.Page, pageNames))
		}
		d.checkText(path+".text", one.Text)
		where := Text{Page: one.Page, Part: one.Part, Lang: one.Lang}
		if seen[where] {
			d.problem(path, "replaces the %s of %s in %s a second time; keep one", one.Part, one.Page, one.Lang)
		}
		seen[where] = true
	}
}

// checkText takes plain text with the placeholders that pages know.
func (d *decoder) checkText(path, value string) {
	switch n := utf8.RuneCountInString(value); {
	case !d.ok(path):
	case n > maxText:
		d.problem(path, "has %d characters; write %d at most", n, maxText)
	case strings.ContainsAny(value, "\n\t"):
		d.problem(path, "has line breaks or tabs; write it in one line")
	case markup.MatchString(value):
		d.problem(path, "has HTML in it; write plain text")
	default:
		for _, found := range placeholder.FindAllString(value, -1) {
			if !slices.Contains([]string{"{app}", "{email}", "{support}", "{wait}", "{timeout}", "{max_age}"}, found) {
				d.problem(path, "%s stands for nothing; write {app}, {email}, {support}, {wait}, {timeout} or {max_age}", quote(found))
				return
			}
		}
	}
}
