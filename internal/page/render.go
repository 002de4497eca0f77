package page

import (
	"bytes"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// view is what the template reads. It decides nothing there.
type view struct {
	Lang, Title, Class string
	Icon               template.HTML
	Style              template.CSS
	Demo               string
	Name               template.HTML // as text, or as the logo
	Home               string
	Notice             string
	Heading, Lead      template.HTML
	Steps              []string
	Caution            string
	Primary, Secondary *button
	Account            *accountView
	Trouble            *troubleView
	User, Contact      template.HTML
	Switch             template.HTML
}

type button struct {
	URL        string
	Post       bool
	Fields     []Field
	Label      template.HTML
	Quiet      bool
	Blank, Top bool // opens a new tab, or leaves the frame
}

type troubleView struct {
	Label, Code string
	Href        template.URL
	Moment      template.HTML
}

// Render answers the request with the page: as HTML, as JSON or as one line of text,
// in the language of the reader, with every header that belongs to it. It leaves
// Proxy-Status, WWW-Authenticate and Allow, which only the caller knows, as they are.
func (s *Set) Render(w http.ResponseWriter, r *http.Request, p Page) {
	k := s.kindOf(&p)
	status := p.Status
	if status < 200 || status > 599 {
		status = k.status
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || p.AfterPost {
		p.LanguageReturn = "" // following it would not show this page again
	}
	lang := s.Language(r)
	s.head(w.Header(), k, p, lang)

	buf := s.buffers.Get().(*bytes.Buffer)
	defer s.buffers.Put(buf)
	buf.Reset()
	kind := "text/html; charset=utf-8"
	switch {
	case WantsHTML(r):
		v := s.compose(k, p, lang, r.Host, s.drawn)
		if err := s.template.Execute(buf, &v); err != nil {
			// Only a mistake in the template gets here; half a page must not go out.
			buf.Reset()
			buf.WriteString(s.line(k, p, lang, r.Host) + "\n")
			kind, status = "text/plain; charset=utf-8", http.StatusServiceUnavailable
		}
	case WantsJSON(r):
		kind = "application/json"
		w.Header().Set("Content-Language", "en")
		s.json(buf, k, p, status, r.Host)
	default:
		kind = "text/plain; charset=utf-8"
		buf.WriteString(s.line(k, p, lang, r.Host) + "\n")
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(buf.Bytes())
	}
}

// kindOf is the page that is asked for, and takes out of p what does not belong on it.
// A page that does not exist is trouble of ours: unavailable.
func (s *Set) kindOf(p *Page) *compiled {
	k := s.kinds[p.ID]
	if k == nil {
		*p = Page{ID: Unavailable, Code: p.Code, Time: p.Time, Unbranded: p.Unbranded}
		k = s.kinds[Unavailable]
	}
	if p.ID == AccountPage && p.Account == nil {
		k = s.signedOut
	}
	p.Unbranded = p.Unbranded || k.unbranded
	if !k.trouble && !(k.id == SignedOut && p.ProviderSilent) || p.Unbranded {
		p.Code = ""
	}
	return k
}

// head sets the headers of a page. Those of an answer that failed on its way and
// would describe another body are taken away.
func (s *Set) head(h http.Header, k *compiled, p Page, lang string) {
	for _, name := range []string{"Content-Encoding", "Content-Range", "Content-Disposition", "Accept-Ranges", "Etag", "Last-Modified", "Expires"} {
		h.Del(name)
	}
	l := &s.own
	if p.Unbranded {
		l = &s.bare
	}
	if k.framed {
		h.Set("Content-Security-Policy", l.framedPolicy)
		h.Del("X-Frame-Options")
	} else {
		h.Set("Content-Security-Policy", l.policy)
		h.Set("X-Frame-Options", "DENY")
	}
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Language", lang)
	h.Add("Vary", "Accept-Language, Cookie") // the gateway may have said more
	h.Set("X-Content-Type-Options", "nosniff")
	if k.referrer {
		h.Set("Referrer-Policy", "same-origin")
	} else {
		h.Set("Referrer-Policy", "no-referrer")
	}
	h.Set("X-Robots-Tag", "noindex")
	if k.id == Waiting {
		h.Set("Refresh", "2")
	}
	retry := k.retry
	if k.id == TooMany {
		retry = wholeDuration(p.Wait)
	}
	if p.RetryAfter > 0 {
		retry = wholeDuration(p.RetryAfter)
	}
	if retry > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(retry/time.Second), 10))
	}
	if p.Code != "" {
		h.Set("Portero-Code", p.Code)
	}
}

// compose puts the page together.
func (s *Set) compose(k *compiled, p Page, lang, host string, drawn pictures) view {
	c, n, words := s.common[lang], s.notes[lang], k.words[lang]
	val := s.values(k, p, lang, host)
	heading := words.heading.render(val)
	v := view{Lang: lang, Style: s.own.style, Heading: markup(heading), Steps: words.steps}
	if p.Unbranded {
		v.Style = s.bare.style
	}
	if s.cfg.Demo {
		v.Demo = c.demo
	}
	switch {
	case k.framed:
		v.Class = "framed"
	case k.wide:
		v.Class = "wide"
	}
	v.Title = plainText(heading)
	if !p.Unbranded && val.app != c.thisSite {
		v.Title += " · " + val.app
	}

	lead := words.lead
	switch {
	case p.ProviderSilent && words.silent != nil:
		lead = words.silent
	case words.hours != nil && s.inHours(p, lang):
		lead = words.hours
	}
	text := lead.render(val)
	if p.SignedIn && words.signedIn != "" {
		text = append(text, span{Plain: " " + words.signedIn})
	}
	if p.AfterPost && words.afterPost != "" {
		v.Caution = words.afterPost
	} else {
		if words.again != "" {
			text = append(text, span{Plain: " " + words.again})
		}
		v.Primary, v.Secondary = s.buttons(k, p, words, val)
	}
	v.Lead = markup(text)
	if p.Code != "" {
		at := p.Time
		if at.IsZero() {
			at = s.cfg.Now()
		}
		v.Trouble = &troubleView{Label: c.code, Code: p.Code, Moment: markup([]span{{Plain: c.moment(at), Time: at.UTC().Format(time.RFC3339)}})}
		if support := s.support(p); support.Email != "" {
			v.Trouble.Href = mailto(support.Email, p.Code)
		}
	}
	if p.Unbranded {
		return v
	}

	v.Icon = drawn.icon
	switch {
	case drawn.logo != "":
		v.Name = drawn.logo
	case s.cfg.Name != "":
		v.Name = markup([]span{{Value: cut(s.cfg.Name)}})
	case val.app != c.thisSite:
		v.Name = markup([]span{{Value: val.app}})
	}
	if k.id == AccountPage && p.Account != nil {
		v.Home = s.cfg.HomeURL
		v.Account = s.account(p.Account, lang)
		v.Notice = c.notice(p.Account.Notice)
	}
	if p.User != "" {
		v.User = markup(n.signedInAs.render(&values{email: cut(p.User)}))
	}
	v.Contact = s.contact
	if p.Support != nil {
		v.Contact = contact(*p.Support)
	}
	if p.LanguageReturn != "" {
		v.Switch = s.languageSwitch(lang, p.LanguageReturn)
	}
	return v
}

// values are what the placeholders stand for.
func (s *Set) values(k *compiled, p Page, lang, host string) *values {
	c := s.common[lang]
	v := &values{app: cut(p.App), email: cut(p.Email)}
	if k.noHost || p.Unbranded {
		v.app = "" // a caller may have put the host there
	}
	if v.app == "" && !p.Unbranded {
		v.app = cut(s.cfg.Name)
	}
	if v.app == "" && !p.Unbranded && !k.noHost {
		v.app = cut(hostname(host))
	}
	if v.app == "" {
		v.app = c.thisSite
	}
	if v.email == "" && p.Account != nil {
		if v.email = cut(p.Account.Email); v.email == "" {
			v.email = cut(p.Account.Name)
		}
	}
	if v.email == "" {
		v.email = c.noAddress
		if k.id == StepUp {
			v.email = c.yourAddress
		}
	}
	switch k.id {
	case TooMany:
		v.wait = c.duration(p.Wait)
	case AppSlow:
		v.timeout = c.duration(p.Timeout)
	case StepUp:
		v.maxAge, _ = c.lastDuration(p.MaxAge)
	}
	if p.Unbranded {
		return v
	}
	if support := s.support(p); support == (Support{}) {
		v.support = s.notes[lang].askFor.render(v)
	} else {
		v.support = []span{ask(support, p.Code)}
	}
	return v
}

func (s *Set) inHours(p Page, lang string) bool {
	_, hours := s.common[lang].lastDuration(p.MaxAge)
	return hours
}

func (s *Set) support(p Page) Support {
	if p.Support != nil {
		return *p.Support
	}
	return s.cfg.Support
}

func (s *Set) buttons(k *compiled, p Page, words *parts, val *values) (primary, secondary *button) {
	if p.Account != nil && k.id == AccountPage {
		if p.Account.SignOutURL == "" {
			return nil, nil
		}
		return &button{URL: p.Account.SignOutURL, Post: true, Label: markup(words.primary.render(val))}, nil
	}
	to := p.Primary
	if to == nil && k.home && !p.Unbranded {
		to = &Action{URL: s.cfg.HomeURL}
	}
	if to != nil && words.primary != nil {
		label := words.primary
		if p.ProviderSilent && words.finish != nil {
			label = words.finish
		}
		primary = &button{URL: to.URL, Post: to.Post, Fields: to.Fields, Label: markup(label.render(val)), Blank: k.target == "_blank", Top: k.target == "_top"}
	}
	if p.Secondary != nil && words.secondary != nil {
		secondary = &button{URL: p.Secondary.URL, Post: p.Secondary.Post, Fields: p.Secondary.Fields, Label: markup(words.secondary.render(val)), Quiet: true}
	}
	return primary, secondary
}

// languageSwitch leads to the next of the configured languages and comes back.
func (s *Set) languageSwitch(lang, back string) template.HTML {
	for i, l := range s.languages {
		if l == lang && len(s.languages) > 1 {
			next := s.common[s.languages[(i+1)%len(s.languages)]]
			address := s.cfg.Prefix + "/language?lang=" + next.tag + "&return_to=" + url.QueryEscape(back)
			return markup([]span{{Plain: next.name, Lang: next.tag, Href: template.URL(address)}})
		}
	}
	return ""
}

// sentenceOf is the heading with its full stop, as plain text.
func (s *Set) sentenceOf(k *compiled, p Page, lang, host string) string {
	return plainText(k.words[lang].sentence.render(s.values(k, p, lang, host)))
}

// line is the page for those who read plain text.
func (s *Set) line(k *compiled, p Page, lang, host string) string {
	line := s.sentenceOf(k, p, lang, host)
	if p.Code != "" {
		line += " " + s.common[lang].code + " " + p.Code
	}
	return line
}

// json is the page for programs. Its message is English, whatever the reader's language.
func (s *Set) json(buf *bytes.Buffer, k *compiled, p Page, status int, host string) {
	body := struct {
		Error   string `json:"error"`
		Message string `json:"message"`
		Code    string `json:"support_code"`
		SignIn  string `json:"sign_in_url,omitempty"`
	}{Error: strings.ReplaceAll(string(k.id), "-", "_"), Message: s.sentenceOf(k, p, "en", host), Code: p.Code}
	if status == http.StatusUnauthorized {
		body.SignIn = p.SignInURL
	}
	json.NewEncoder(buf).Encode(body) // a buffer takes everything, and strings always encode
}

// hostname is the host of a request without its port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(host)
}

// ask is {support}: a name that leads to the contact.
func ask(s Support, code string) span {
	for _, text := range []string{s.Name, s.Email, s.Phone, s.URL} {
		if text != "" {
			out := addressSpan(cut(text))
			switch {
			case s.Email != "":
				out.Href = mailto(s.Email, code)
			case s.URL != "":
				out.Href = web(s.URL)
			case s.Phone != "":
				out.Href = tel(s.Phone)
			}
			return out
		}
	}
	return span{}
}

// contact is the line of the footer: everything there is of the contact.
func contact(s Support) template.HTML {
	var out []span
	if s.Name != "" {
		out = append(out, span{Value: cut(s.Name)})
	}
	if s.Email != "" {
		link := addressSpan(cut(s.Email))
		link.Href = mailto(s.Email, "")
		out = append(out, link)
	}
	if s.Phone != "" {
		out = append(out, span{Value: cut(s.Phone), Href: tel(s.Phone)})
	}
	if s.URL != "" {
		_, text, _ := strings.Cut(s.URL, "://")
		out = append(out, span{Value: cut(strings.TrimSuffix(text, "/")), Href: web(s.URL)})
	}
	var spaced []span // so that they stand apart without the style sheet
	for i, link := range out {
		if i > 0 {
			spaced = append(spaced, span{Plain: " "})
		}
		spaced = append(spaced, link)
	}
	return markup(spaced)
}

// The template's own filter knows no tel:, so these three write links whole. What
// goes in is escaped or checked letter by letter here.

func mailto(address, code string) template.URL {
	link := "mailto:" + (&url.URL{Path: address}).EscapedPath()
	if code != "" {
		link += "?subject=" + url.QueryEscape(code)
	}
	return template.URL(link)
}

func web(address string) template.URL {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return template.URL(u.String())
}

func tel(number string) template.URL {
	return template.URL("tel:" + strings.Map(func(r rune) rune {
		if r == '+' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, number))
}
