package provider

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// logoutScript posts the end-session form, as Logto's page does. It is the only script of the provider; the form has a button besides.
const logoutScript = "document.forms[0].submit()"

// pages renders what people see.
type pages struct {
	name       string
	templates  *template.Template
	style      template.CSS
	styleHash  string
	scriptHash string
}

func newPages(name string) (*pages, error) {
	t, err := template.New("").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("reading the pages: %w", err)
	}
	style := strings.TrimSpace(pageCSS)
	return &pages{
		name: name, templates: t, style: template.CSS(style),
		styleHash: contentHash(style), scriptHash: contentHash(logoutScript),
	}, nil
}

// contentHash names inline content in a content security policy.
func contentHash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// page is one page. Its zero fields are left out.
type page struct {
	template string
	status   int
	forms    string        // origin that a form may lead to beside our own
	refresh  string        // where the page goes on by itself
	retry    time.Duration // Retry-After

	Words         words
	Heading       string
	Lead          *lead
	Error         string
	Action        string // of the page's form
	Hidden        []field
	Typed         string // what the address field begins with
	NewCode       string
	OtherAddress  string
	Mailbox       string
	Button, Link  string
	OtherLanguage string // where the language switch leads

	Name                 string
	Style                template.CSS
	Script               template.JS
	OtherLang, OtherName string
}

type field struct{ Name, Value string }

// lead is a sentence in which an address may stand, which a line may break before its @.
type lead struct{ Before, Address, Local, Domain, After string }

func plain(text string) *lead { return &lead{Before: text} }

func addressed(text, address string) *lead {
	before, after, _ := strings.Cut(text, "{email}")
	address = shortened(address)
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		at = len(address)
	}
	return &lead{Before: before, Address: address, Local: address[:at], Domain: address[at:], After: after}
}

// shortened cuts what came from a person at 80 characters.
func shortened(s string) string {
	if utf8.RuneCountInString(s) <= 80 {
		return s
	}
	return string([]rune(s)[:79]) + "…"
}

// render writes a page with the headers every page has.
func (ps *pages) render(w http.ResponseWriter, r *http.Request, p page) {
	p.Name, p.Style = ps.name, ps.style
	other := p.Words.other()
	p.OtherLang, p.OtherName = other.Lang, other.Name

	policy := "default-src 'none'; style-src " + ps.styleHash + "; img-src 'self'; "
	if p.Script != "" {
		policy += "script-src " + ps.scriptHash + "; "
	}
	policy += strings.TrimSpace("form-action 'self' "+p.forms) + "; base-uri 'none'; frame-ancestors 'none'"

	var body bytes.Buffer
	if err := ps.templates.ExecuteTemplate(&body, p.template, p); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Content-Language", p.Words.Lang)
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Language, Cookie")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex")
	if p.refresh != "" {
		h.Set("Refresh", "0; url="+p.refresh)
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		body.WriteTo(w)
	}
}

// writeLogoutPage writes the page that confirms the end of a session: by itself where scripts run, by its button where they do not.
func (p *Provider) writeLogoutPage(w http.ResponseWriter, r *http.Request, pending logout, xsrf string) {
	forms := ""
	if target, err := url.Parse(pending.target); err == nil && pending.target != "" {
		forms = origin(target)
	}
	say := wordsFor(r.Form.Get("ui_locales"), r)
	p.pages.render(w, r, page{
		template: "message", status: http.StatusOK, forms: forms, Words: say, Script: logoutScript,
		Heading: say.SignOut, Lead: plain(say.SignOutLead), Button: say.SignOut,
		Action: "/oidc/session/end/confirm", Hidden: []field{{"xsrf", xsrf}, {"logout", "yes"}},
	})
}

// serveEndSessionSuccess: GET /oidc/session/end/success
func (p *Provider) serveEndSessionSuccess(w http.ResponseWriter, r *http.Request) {
	say := wordsFor("", r)
	p.pages.render(w, r, page{
		template: "message", status: http.StatusOK, Words: say, Heading: say.SignedOut, Lead: plain(say.SignedOutLead),
	})
}

// serveNotFound answers every address the provider does not have.
func (p *Provider) serveNotFound(w http.ResponseWriter, r *http.Request) {
	say := wordsFor("", r)
	p.pages.render(w, r, page{
		template: "message", status: http.StatusNotFound, Words: say, Heading: say.NotFound, Lead: plain(say.NotFoundLead),
		Link: p.config.StartURL, Button: say.GoToStart,
	})
}

// writeUnfinished answers a page or a form whose interaction is unknown, over, or of another browser.
func (p *Provider) writeUnfinished(w http.ResponseWriter, r *http.Request) {
	if to := p.tenant.Experience().UnknownSessionURL; r.Method != http.MethodPost && to != "" {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	say := wordsFor(r.URL.Query().Get("ui_locales"), r)
	p.pages.render(w, r, page{
		template: "message", status: http.StatusBadRequest, Words: say, Heading: say.Unfinished, Lead: plain(say.UnfinishedLead),
		Link: p.config.StartURL, Button: say.StartAgain,
	})
}
