package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS string

// Config is the `pages` part of the configuration and what the pages must know of
// the rest. The zero value gives pages without branding in English and Spanish.
type Config struct {
	Name         string   // pages.name. Empty: the title of the route, else the host
	LogoFile     string   // pages.logo_file, SVG or PNG, up to 32 KiB. Empty: the name as text
	LogoDarkFile string   // pages.logo_dark_file. Empty: the same logo
	Accent       string   // pages.accent. Empty: #0b5cad
	AccentDark   string   // pages.accent_dark. Empty: derived from Accent
	Languages    []string // pages.languages, the first is the fallback. Empty: en, es
	Support      Support  // pages.support
	HomeURL      string   // pages.home_url. Empty: "/"
	Texts        []Text   // pages.texts

	Prefix         string   // endpoints.prefix. Empty: /_portero
	LogtoOrigin    string   // origin of logto.endpoint. Empty: none
	SignInOrigins  []string // origins of all hosts that routes name
	LanguageCookie string   // its name. Empty: no language cookie
	SecureCookies  bool     // whether the pages are on https

	Demo bool             // every page says that this is a demonstration
	Now  func() time.Time // nil: time.Now
}

// Text replaces one part of one page in one language.
type Text struct {
	Page string
	Part string // heading, lead, primary or secondary
	Lang string
	Text string // plain text of at most 400 characters, {app} and so on where the page has them
}

// KeyError is one thing that is wrong with the configuration of the pages.
type KeyError struct {
	Key  string // "pages.accent", "pages.texts[2].lang"
	Text string // what is wrong; what to write
}

func (e *KeyError) Error() string { return e.Key + ": " + e.Text }

// Set is all pages of one configuration, ready to be served. It is safe for
// concurrent use and never changes.
type Set struct {
	cfg       Config
	languages []string
	common    map[string]*common
	notes     map[string]*notes
	kinds     map[ID]*compiled
	signedOut *compiled // the own page of somebody without a session
	template  *template.Template
	own, bare look // with the configured colours, and for strangers
	logo      *asset
	logoDark  *asset
	icon      *asset
	drawn     pictures      // as pages under the prefix show them
	contact   template.HTML // footer
	buffers   *sync.Pool    // of *bytes.Buffer
}

// look is a style sheet and the policies that name it.
type look struct {
	style                template.CSS
	policy, framedPolicy string
}

// compiled is a page with its sentences parsed.
type compiled struct {
	kind
	words map[string]*parts // :: language → sentences
}

type parts struct {
	heading, lead, primary, secondary message
	sentence                          message // the heading with its full stop
	silent, finish, hours             message
	signedIn, again                   string
	afterPost                         string
	steps                             []string
}

// notes are sentences shared by pages, parsed.
type notes struct{ signedInAs, askFor, used message }

// New reads the logo, checks everything and builds the pages. The error joins a
// *KeyError for each thing that is wrong.
func New(cfg Config) (*Set, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "/_portero"
	}
	if cfg.HomeURL == "" {
		cfg.HomeURL = "/"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Set{
		cfg: cfg, common: commons(), notes: map[string]*notes{}, kinds: map[ID]*compiled{},
		buffers: &sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
	var problems []error
	problem := func(key, format string, args ...any) {
		problems = append(problems, &KeyError{Key: key, Text: fmt.Sprintf(format, args...)})
	}

	if !regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`).MatchString(cfg.Prefix) {
		problem("endpoints.prefix", "%q is no path of whole segments; write it like /_portero", cut(cfg.Prefix))
	}
	if why := plain(cfg.Name, maxShown); why != "" {
		problem("pages.name", "%s", why)
	}
	s.languages = languages(cfg.Languages, s.common, problem)
	checkSupport("pages.support", cfg.Support, problem)
	checkHome(cfg.HomeURL, cfg.SignInOrigins, problem)
	if cfg.LogoFile == "" && cfg.LogoDarkFile != "" {
		problem("pages.logo_dark_file", "there is no pages.logo_file beside it; write both")
	}
	s.logo = readLogo("pages.logo_file", cfg.LogoFile, problem)
	s.logoDark = readLogo("pages.logo_dark_file", cfg.LogoDarkFile, problem)
	for _, origin := range append([]string{cfg.LogtoOrigin}, cfg.SignInOrigins...) {
		if origin != "" && !isOrigin(origin) {
			problem("pages", "%q is no origin that a policy can name; write it like https://host:port", cut(origin))
		}
	}
	light, dark, bad := branded(cfg.Accent, cfg.AccentDark)
	problems = append(problems, bad...)
	s.compile(problem)

	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	s.own = newLook(light, dark, append([]string{cfg.LogtoOrigin}, cfg.SignInOrigins...))
	s.bare = newLook(lightTheme(), darkTheme(), nil)
	s.icon = drawIcon(light.accent, light.accentInk)
	t, err := template.New("").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parsing the template of the pages: %w", err)
	}
	s.template = t.Lookup("page")
	if s.drawn, err = s.draw(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("rendering the logo: %w", err)
	}
	s.contact = contact(cfg.Support)
	return s, nil
}

// CheckSupport says what is wrong with a support contact that stands at key, for
// routes that have their own.
func CheckSupport(key string, support Support) error {
	var problems []error
	checkSupport(key, support, func(key, format string, args ...any) {
		problems = append(problems, &KeyError{Key: key, Text: fmt.Sprintf(format, args...)})
	})
	return errors.Join(problems...)
}

func languages(want []string, have map[string]*common, problem func(string, string, ...any)) []string {
	if len(want) == 0 {
		return []string{"en", "es"}
	}
	seen := map[string]bool{}
	for i, lang := range want {
		key := fmt.Sprintf("pages.languages[%d]", i)
		switch {
		case have[lang] == nil:
			problem(key, "there are no words in %q; write en or es", cut(lang))
		case seen[lang]:
			problem(key, "%q stands there twice; remove one", lang)
		}
		seen[lang] = true
	}
	return append([]string(nil), want...)
}

func checkSupport(key string, s Support, problem func(string, string, ...any)) {
	if why := plain(s.Name, maxShown); why != "" {
		problem(key+".name", "%s", why)
	}
	if s.Email != "" && (len(s.Email) > 254 || !regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`).MatchString(s.Email)) {
		problem(key+".email", "%q is no e-mail address; write it like help@example.com", cut(s.Email))
	}
	if s.URL != "" {
		if u, err := url.Parse(s.URL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || plain(s.URL, 2048) != "" {
			problem(key+".url", "%q is no web address; write it like https://help.example.com/", cut(s.URL))
		}
	}
	if s.Phone != "" && !regexp.MustCompile(`^\+?[0-9][0-9 ().-]{2,30}$`).MatchString(s.Phone) {
		problem(key+".phone", "%q is no telephone number; write it like +34 900 000 000", cut(s.Phone))
	}
}

func checkHome(home string, origins []string, problem func(string, string, ...any)) {
	u, err := url.Parse(home)
	bad := err != nil || plain(home, 2048) != "" || strings.ContainsAny(home, `\ `)
	if !bad && strings.HasPrefix(home, "/") {
		bad = strings.HasPrefix(home, "//")
	} else if !bad {
		bad = true
		for _, origin := range origins {
			if u.User == nil && u.Scheme+"://"+u.Host == origin {
				bad = false
			}
		}
	}
	if bad {
		problem("pages.home_url", "%q is not on one of our hosts; write a path such as / or the https address of a host that a route names", cut(home))
	}
}

func isOrigin(s string) bool {
	return regexp.MustCompile(`^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`).MatchString(s)
}

// plain says what is wrong with a plain text, "" if nothing.
func plain(s string, limit int) string {
	switch {
	case !utf8.ValidString(s):
		return "the text is not UTF-8"
	case utf8.RuneCountInString(s) > limit:
		return fmt.Sprintf("the text has %d characters; at most %d fit", utf8.RuneCountInString(s), limit)
	case strings.ContainsAny(s, "<>"):
		return "HTML is not possible here; write plain text without < and >"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "the text has control characters; write it on one line"
	}
	return ""
}

// compile parses all sentences, with the operator's in place of ours.
func (s *Set) compile(problem func(string, string, ...any)) {
	for lang, c := range s.common {
		s.notes[lang] = &notes{signedInAs: ours(c.signedInAs), askFor: ours(c.askFor), used: ours(c.used)}
	}
	for _, k := range kinds() {
		c := &compiled{kind: k, words: map[string]*parts{}}
		for lang, w := range map[string]words{"en": k.en, "es": k.es} {
			c.words[lang] = &parts{
				heading: ours(strings.TrimSuffix(w.heading, ".")), sentence: ours(sentence(w.heading)),
				lead: ours(w.lead), primary: ours(w.primary), secondary: ours(w.secondary),
				silent: ours(w.silent), finish: ours(w.finish), hours: ours(w.hours),
				signedIn: w.signedIn, again: w.again, afterPost: w.afterPost, steps: w.steps,
			}
		}
		s.kinds[k.id] = c
	}
	signedOut := *s.kinds[SignInRequired]
	signedOut.id, signedOut.status, signedOut.referrer = AccountPage, http.StatusOK, true
	s.signedOut = &signedOut
	seen := map[Text]bool{}
	for i, t := range s.cfg.Texts {
		key := fmt.Sprintf("pages.texts[%d]", i)
		k := s.kinds[ID(t.Page)]
		if k == nil || k.id == SignInRequired {
			problem(key+".page", "there is no page %q; write one of %s", cut(t.Page), strings.Join(pageNames(), ", "))
			continue
		}
		if k.unbranded {
			problem(key+".page", "the words of %s are fixed, so that strangers learn nothing; remove this entry", k.id)
			continue
		}
		p := k.words[t.Lang]
		if p == nil {
			problem(key+".lang", "there are no words in %q; write en or es", cut(t.Lang))
			continue
		}
		slot := map[string]*message{"heading": &p.heading, "lead": &p.lead, "primary": &p.primary, "secondary": &p.secondary}[t.Part]
		if slot == nil || len(*slot) == 0 {
			problem(key+".part", "%s has no part %q; write one of heading, lead, primary, secondary", k.id, cut(t.Part))
			continue
		}
		if where := (Text{Page: t.Page, Part: t.Part, Lang: t.Lang}); seen[where] {
			problem(key, "the %s of %s stands there twice in %q; remove one", t.Part, t.Page, t.Lang)
			continue
		} else {
			seen[where] = true
		}
		why := plain(t.Text, 400)
		if why == "" && strings.TrimSpace(t.Text) == "" {
			why = "the text is empty; write one or remove the entry"
		}
		known := append([]string{"app", "support"}, strings.Fields(k.fills)...)
		if k.noHost {
			known = []string{"support"}
		}
		m, err := parseMessage(strings.TrimSpace(t.Text), known...)
		if why == "" && err != nil {
			why = err.Error()
		}
		if why == "" && k.id == Denied && t.Part == "lead" && !strings.Contains(t.Text, "{email}") {
			why = "the text must have {email}: a wrong account is the usual cause"
		}
		if why != "" {
			problem(key+".text", "%s", why)
			continue
		}
		*slot = m
		switch t.Part {
		case "heading":
			p.sentence = ours(sentence(strings.TrimSpace(t.Text)))
			p.heading = ours(strings.TrimSuffix(strings.TrimSpace(t.Text), "."))
		case "lead":
			p.hours = nil
		}
	}
}

func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

func pageNames() []string {
	var names []string
	for _, k := range kinds() {
		if !k.unbranded && k.id != SignInRequired {
			names = append(names, string(k.id))
		}
	}
	return names
}

// newLook renders the style sheet once and names it by its hash. Chromium applies
// form-action to the redirects after a form too, so every origin that a sign-out
// passes stands in it.
func newLook(light, dark theme, origins []string) look {
	style := ":root{" + light.properties() + "}@media (prefers-color-scheme:dark){:root{" + dark.properties() + "}}" + compact(styleCSS)
	sum := sha256.Sum256([]byte(style))
	form, seen := "'self'", map[string]bool{}
	for _, origin := range origins {
		if origin != "" && !seen[origin] {
			form += " " + origin
			seen[origin] = true
		}
	}
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src 'self'; form-action " + form + "; base-uri 'none'; frame-ancestors "
	return look{style: template.CSS(style), policy: policy + "'none'", framedPolicy: policy + "'self'"}
}

// compact takes comments and line breaks out of the style sheet. A line break is
// never the only space between two words there.
func compact(css string) string {
	css = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(css, "")
	return regexp.MustCompile(`\s*\n\s*`).ReplaceAllString(css, "")
}
