package provider

import (
	"cmp"
	"context"
	"crypto/subtle"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"
	"unicode"
)

const mailTimeout = 20 * time.Second

// serveAddress: GET /sign-in and its like ask for the address. With a live session that is enough it goes straight on.
func (p *Provider) serveAddress(w http.ResponseWriter, r *http.Request) {
	it, ok := p.pageInteraction(w, r)
	switch {
	case !ok:
	case it.oneTimeToken != "":
		p.acceptOneTimeToken(w, r, it)
	case !p.tenant.Experience().EmailCode:
		p.writeNoEmail(w, r, it)
	default:
		p.writeAddress(w, r, it, addressForm{typed: cmp.Or(it.verification.address, it.hint)})
	}
}

// acceptAddress: POST /sign-in and its like (identifier) send a code.
func (p *Provider) acceptAddress(w http.ResponseWriter, r *http.Request) {
	it, ok := p.formInteraction(w, r)
	if !ok {
		return
	}
	if !p.tenant.Experience().EmailCode {
		p.writeNoEmail(w, r, it)
		return
	}
	typed := strings.TrimSpace(r.PostFormValue("identifier"))
	if !readable(typed) {
		say := wordsFor(it.locales, r)
		p.writeAddress(w, r, it, addressForm{typed: typed, status: http.StatusBadRequest, mistake: say.AddressUnreadable})
		return
	}
	p.send(w, r, it, typed, func(wait time.Duration) {
		say := wordsFor(it.locales, r)
		p.writeAddress(w, r, it, addressForm{typed: typed, status: http.StatusTooManyRequests, mistake: say.wait(wait), retry: wait})
	})
}

// serveCode: GET /sign-in/verification-code asks for the code that was sent.
func (p *Provider) serveCode(w http.ResponseWriter, r *http.Request) {
	it, ok := p.pageInteraction(w, r)
	switch {
	case !ok:
	case it.verification.address == "":
		http.Redirect(w, r, it.page+"?"+p.pageQuery(it).Encode(), http.StatusSeeOther)
	default:
		p.writeCode(w, r, it, codeForm{})
	}
}

// acceptCode: POST /sign-in/verification-code (code) signs in and answers the authorization request. Who is unknown is registered.
func (p *Provider) acceptCode(w http.ResponseWriter, r *http.Request) {
	it, ok := p.formInteraction(w, r)
	if !ok {
		return
	}
	typed := strings.Map(func(c rune) rune {
		if c == '-' || unicode.IsSpace(c) {
			return -1
		}
		return c
	}, r.PostFormValue("code"))
	say := wordsFor(it.locales, r)
	switch result, address, left := p.store.verify(it.id, typed); {
	case address == "":
		http.Redirect(w, r, it.page+"?"+p.pageQuery(it).Encode(), http.StatusSeeOther)
	case result == codeRefused:
		p.writeCode(w, r, it, codeForm{status: http.StatusBadRequest, mistake: say.tries(left)})
	case result == codeOver:
		p.writeCode(w, r, it, codeForm{status: http.StatusBadRequest, mistake: say.CodeOver})
	default:
		live, ok := p.store.signIn(cookie(r, sessionCookie), address, it.client)
		if !ok {
			writeJSON(w, http.StatusUnauthorized, "application/json; charset=utf-8",
				map[string]string{"code": "user.suspended", "message": "This account is suspended."})
			return
		}
		p.setCookie(w, sessionCookie, live.id, int(sessionLifetime.Seconds()))
		p.goOn(w, r, it, live)
	}
}

// acceptNewCode: POST /sign-in/new-code sends another code to the same address.
func (p *Provider) acceptNewCode(w http.ResponseWriter, r *http.Request) {
	it, ok := p.formInteraction(w, r)
	switch {
	case !ok:
	case it.verification.address == "":
		http.Redirect(w, r, it.page+"?"+p.pageQuery(it).Encode(), http.StatusSeeOther)
	default:
		p.send(w, r, it, it.verification.address, func(wait time.Duration) {
			say := wordsFor(it.locales, r)
			p.writeCode(w, r, it, codeForm{status: http.StatusTooManyRequests, mistake: say.wait(wait), retry: wait})
		})
	}
}

// welcome reports whether an address can sign in: where registration is closed, one that is known, and where only registration is open, one that
// is not.
func (p *Provider) welcome(address string) bool {
	e := p.tenant.Experience()
	if p.store.knows(address) {
		return e.SignIn
	}
	return e.Register
}

// acceptOneTimeToken signs in the address that a request names with a token that is for it, once. It is registered where it is unknown, even
// where registration is closed: who made the token has invited it.
func (p *Provider) acceptOneTimeToken(w http.ResponseWriter, r *http.Request, it interaction) {
	if err := p.tenant.ConsumeOneTimeToken(it.oneTimeToken, it.hint); err != nil {
		say := wordsFor(it.locales, r)
		p.store.update(it.id, func(kept *interaction) { kept.oneTimeToken = "" })
		p.pages.render(w, r, page{
			template: "message", status: http.StatusBadRequest, Words: say, Heading: say.TokenOver, Lead: plain(say.TokenOverLead),
			Link: it.page + "?" + p.pageQuery(it).Encode(), Button: say.SignIn,
		})
		return
	}
	live, ok := p.store.signIn(cookie(r, sessionCookie), it.hint, it.client)
	if !ok {
		writeJSON(w, http.StatusUnauthorized, "application/json; charset=utf-8",
			map[string]string{"code": "user.suspended", "message": "This account is suspended."})
		return
	}
	it, _ = p.store.update(it.id, func(kept *interaction) { kept.signedIn = true })
	p.setCookie(w, sessionCookie, live.id, int(sessionLifetime.Seconds()))
	p.finish(w, r, it, live)
}

// writeNoEmail answers where nobody can sign in with a code by e-mail.
func (p *Provider) writeNoEmail(w http.ResponseWriter, r *http.Request, it interaction) {
	say := wordsFor(it.locales, r)
	p.pages.render(w, r, page{
		template: "message", status: http.StatusOK, Words: say, Heading: say.NoEmail, Lead: plain(say.NoEmailLead),
		Link: p.config.StartURL, Button: say.StartAgain,
	})
}

// writeDenied answers somebody whom the application lets in no more, at Logto's own page: the application hears nothing.
func (p *Provider) writeDenied(w http.ResponseWriter, r *http.Request, it interaction) {
	say := wordsFor(it.locales, r)
	p.pages.render(w, r, page{template: "message", status: http.StatusForbidden, Words: say, Heading: say.Denied, Lead: plain(say.DeniedLead)})
}

// send sends a code and goes to the page that asks for it; tooMany answers where the address has had its mails.
func (p *Provider) send(w http.ResponseWriter, r *http.Request, it interaction, to string, tooMany func(wait time.Duration)) {
	if wait := p.store.reserveMail(to); wait > 0 {
		tooMany(wait)
		return
	}
	say := wordsFor(it.locales, r)
	code, err := newCode()
	if err == nil {
		// Kept before it is sent: who reads the mail is faster than the answer of the mail service.
		void := !p.welcome(to)
		p.store.sent(it.id, to, code, void)
		if !void {
			ctx, cancel := context.WithTimeout(r.Context(), mailTimeout)
			defer cancel()
			err = p.config.SendCode(ctx, to, code, it.usage, say.Lang)
		}
	}
	if err != nil {
		p.store.releaseMail(to)
		p.log.WarnContext(r.Context(), "sending a code", "error", err)
		p.pages.render(w, r, page{
			template: "message", status: http.StatusServiceUnavailable, forms: p.formOrigin(it), Words: say,
			Heading: say.MailUnavailable, Lead: plain(say.MailUnavailableLead), Button: say.SendAgain,
			Action: newCodePath + "?" + p.pageQuery(it).Encode(), Hidden: p.hidden(it),
		})
		return
	}
	http.Redirect(w, r, codePath+"?"+p.pageQuery(it).Encode(), http.StatusSeeOther)
}

// goOn answers the authorization request from a form. A browser follows a form only to the origins the page's policy names: if the request was
// started by another tab, with another redirect URI, a page in between leads there.
func (p *Provider) goOn(w http.ResponseWriter, r *http.Request, it interaction, live session) {
	if from := r.PostFormValue("origin"); from != "" && from != p.formOrigin(it) {
		say, next := wordsFor(it.locales, r), it.page+"?"+p.pageQuery(it).Encode()
		p.pages.render(w, r, page{
			template: "message", status: http.StatusOK, forms: p.formOrigin(it), refresh: next, Words: say,
			Heading: say.Waiting, Lead: plain(say.WaitingLead), Link: next, Button: say.GoOn,
		})
		return
	}
	p.finish(w, r, it, live)
}

// pageInteraction returns the interaction of a page that was opened. False: the request has been answered, because there is none or because
// the browser's session was enough.
func (p *Provider) pageInteraction(w http.ResponseWriter, r *http.Request) (interaction, bool) {
	w.Header().Set("Cache-Control", "no-store")
	query := r.URL.Query()
	it, ok := p.wanted(r)
	if !ok {
		p.writeUnfinished(w, r)
		return interaction{}, false
	}
	if live, signedIn := p.liveSession(w, r); signedIn && p.satisfies(it, live) {
		p.finish(w, r, it, live)
		return interaction{}, false
	}
	if locales := query.Get("ui_locales"); locales != it.locales && query.Has("ui_locales") && len(locales) <= 100 {
		return p.store.update(it.id, func(kept *interaction) { kept.locales = locales })
	}
	return it, true
}

// formInteraction returns the interaction of a form that was sent. False: the request has been answered, because the form was not made for
// this browser, its interaction is over, or somebody signed in meanwhile in another tab.
func (p *Provider) formInteraction(w http.ResponseWriter, r *http.Request) (interaction, bool) {
	w.Header().Set("Cache-Control", "no-store")
	it, ok := p.wanted(r)
	if !ok || subtle.ConstantTimeCompare([]byte(r.PostFormValue("xsrf")), []byte(p.sign("form", it.browser))) != 1 {
		p.writeUnfinished(w, r)
		return interaction{}, false
	}
	if live, signedIn := p.liveSession(w, r); signedIn && p.satisfies(it, live) {
		p.goOn(w, r, it, live)
		return interaction{}, false
	}
	return it, true
}

// wanted is the interaction that a request is about: the one its URL names if interactions are parallel, else the one the browser started last.
func (p *Provider) wanted(r *http.Request) (interaction, bool) {
	id := ""
	if p.config.ParallelInteractions {
		if id = r.URL.Query().Get("interaction"); id == "" {
			return interaction{}, false
		}
	}
	return p.store.interaction(cookie(r, interactionCookie), id)
}

// pageQuery is the query that the URLs of an interaction's pages have in common.
func (p *Provider) pageQuery(it interaction) url.Values {
	query := url.Values{"app_id": {it.client}}
	if p.config.ParallelInteractions {
		query.Set("interaction", it.id)
	}
	if it.identifier != "" {
		query.Set("identifier", it.identifier)
	}
	if it.locales != "" {
		query.Set("ui_locales", it.locales)
	}
	return query
}

// hidden are the fields that bind a form to the browser it was made for and remember where its policy lets it lead.
func (p *Provider) hidden(it interaction) []field {
	return []field{{"xsrf", p.sign("form", it.browser)}, {"origin", p.formOrigin(it)}}
}

func (p *Provider) formOrigin(it interaction) string {
	redirect, err := url.Parse(it.redirectURI)
	if err != nil {
		return ""
	}
	return origin(redirect)
}

type addressForm struct {
	typed, mistake string
	status         int // 0: the page was opened, not sent
	retry          time.Duration
}

func (p *Provider) writeAddress(w http.ResponseWriter, r *http.Request, it interaction, form addressForm) {
	say, query := wordsFor(it.locales, r), p.pageQuery(it)
	pg := page{
		template: "address", status: http.StatusOK, forms: p.formOrigin(it), retry: form.retry, Words: say,
		Heading: say.Address, Error: form.mistake, Typed: form.typed,
		Action: it.page + "?" + query.Encode(), Hidden: p.hidden(it),
	}
	p.writeForm(w, r, pg, it.page, query, form.status)
}

type codeForm struct {
	mistake string
	status  int // 0: the page was opened, not sent
	retry   time.Duration
}

func (p *Provider) writeCode(w http.ResponseWriter, r *http.Request, it interaction, form codeForm) {
	say, query := wordsFor(it.locales, r), p.pageQuery(it)
	pg := page{
		template: "code", status: http.StatusOK, forms: p.formOrigin(it), retry: form.retry, Words: say,
		Heading: say.Code, Lead: addressed(say.CodeLead, it.verification.address), Error: form.mistake,
		Action: codePath + "?" + query.Encode(), Hidden: p.hidden(it),
		NewCode:      newCodePath + "?" + query.Encode(),
		OtherAddress: it.page + "?" + query.Encode(),
		Mailbox:      p.config.MailboxURL,
	}
	p.writeForm(w, r, pg, codePath, query, form.status)
}

// writeForm writes a form; one that was opened, not sent, offers the other language.
func (p *Provider) writeForm(w http.ResponseWriter, r *http.Request, pg page, path string, query url.Values, status int) {
	if status != 0 {
		pg.status = status
	} else {
		query.Set("ui_locales", pg.Words.other().Lang)
		pg.OtherLanguage = path + "?" + query.Encode()
	}
	p.pages.render(w, r, pg)
}

// readable reports whether a typed address is one a code can be sent to.
func readable(address string) bool {
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" || len(address) > 128 {
		return false
	}
	at := strings.LastIndexByte(address, '@')
	domain := address[at+1:]
	return strings.Count(address, "@") == 1 && strings.Contains(domain, ".") && !strings.ContainsAny(domain, "[]") &&
		!strings.ContainsFunc(address, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || c == unicode.ReplacementChar })
}
