package mailbox

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

//go:embed page.html
var pageHTML string

//go:embed style.css
var styleCSS string

//go:embed refresh.js
var refreshJS []byte

// words are the page's texts in one language.
type words struct {
	Lang, Other, OtherName       string
	Notice, Heading, Empty       string
	To, From, Subject, Received  string
	Text, Formatted, NoSubject   string
	Template, Variables, NoCode  string
	now                          string
	minute, minutes, hour, hours string
	day, days                    string
	months                       [12]string
}

func english() words {
	return words{
		Lang: "en", Other: "es", OtherName: "Español",
		Notice:  "Demonstration: runs on this computer only and forgets everything when it stops.",
		Heading: "Mailbox", Empty: "No mail yet. Codes arrive here.",
		To: "To", From: "From", Subject: "Subject", Received: "Received",
		Text: "Text", Formatted: "Formatted", NoSubject: "No subject", Template: "Template", Variables: "Variables", NoCode: "No code",
		now: "just now", minute: "1 minute ago", minutes: "%d minutes ago", hour: "1 hour ago", hours: "%d hours ago", day: "1 day ago", days: "%d days ago",
		months: [12]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"},
	}
}

func spanish() words {
	return words{
		Lang: "es", Other: "en", OtherName: "English",
		Notice:  "Demostración: funciona solo en este equipo y lo olvida todo al detenerse.",
		Heading: "Buzón", Empty: "Todavía no hay correo. Los códigos llegan aquí.",
		To: "Para", From: "De", Subject: "Asunto", Received: "Recibido",
		Text: "Texto", Formatted: "Con formato", NoSubject: "Sin asunto", Template: "Plantilla", Variables: "Variables", NoCode: "Sin código",
		now: "ahora mismo", minute: "hace 1 minuto", minutes: "hace %d minutos", hour: "hace 1 hora", hours: "hace %d horas", day: "hace 1 día", days: "hace %d días",
		months: [12]string{"ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"},
	}
}

// ago says how long something has been: relative up to seven days, then the date, since a page without script cannot know the
// reader's zone.
func (w words) ago(d time.Duration, at time.Time) string {
	several := func(n int, one, many string) string {
		if n == 1 {
			return one
		}
		return fmt.Sprintf(many, n)
	}
	switch {
	case d < time.Minute:
		return w.now
	case d < time.Hour:
		return several(int(d/time.Minute), w.minute, w.minutes)
	case d < 24*time.Hour:
		return several(int(d/time.Hour), w.hour, w.hours)
	case d <= 7*24*time.Hour:
		return several(int(d/(24*time.Hour)), w.day, w.days)
	}
	at = at.UTC()
	return fmt.Sprintf("%d %s %d", at.Day(), w.months[at.Month()-1], at.Year())
}

// pages is what all answers share: made once.
type pages struct {
	page     *template.Template
	style    template.CSS
	policy   string
	matcher  language.Matcher
	byLocale []words // in the matcher's order
}

func newPages() *pages {
	hash := sha256.Sum256([]byte(styleCSS))
	return &pages{
		page:  template.Must(template.New("mailbox").Funcs(template.FuncMap{"address": address, "cut": cut}).Parse(pageHTML)),
		style: template.CSS(styleCSS),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; script-src 'self'; connect-src 'self'; " +
			"frame-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
		matcher:  language.NewMatcher([]language.Tag{language.English, language.Spanish}),
		byLocale: []words{english(), spanish()},
	}
}

func (p *pages) words(r *http.Request) words {
	accept := r.Header.Get("Accept-Language")
	if len(accept) > 512 {
		accept = ""
	}
	_, i := language.MatchStrings(p.matcher, r.URL.Query().Get("lang"), accept)
	return p.byLocale[i]
}

type entry struct {
	Mail
	ID, Stamp, Ago      string
	Template, Variables string
}

// page answers GET /: the list, newest first. The script asks again with the answer's ETag and gets 304 while nothing changes.
func (m *Mailbox) page(w http.ResponseWriter, r *http.Request) {
	text := m.pages.words(r)
	now := m.now()
	view := struct {
		words
		Style template.CSS
		Mails []entry
	}{words: text, Style: m.pages.style}
	for _, one := range m.Messages("") {
		view.Mails = append(view.Mails, entry{
			Mail: one, ID: strconv.FormatUint(one.id, 10), Template: one.template, Variables: one.variables,
			Stamp: one.ReceivedAt.Format(time.RFC3339), Ago: text.ago(now.Sub(one.ReceivedAt), one.ReceivedAt),
		})
	}
	var body bytes.Buffer
	if err := m.pages.page.Execute(&body, view); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	hash := sha256.Sum256(body.Bytes())
	tag := `"` + hex.EncodeToString(hash[:12]) + `"`
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", text.Lang)
	h.Set("Vary", "Accept-Language")
	h.Set("Content-Security-Policy", m.pages.policy)
	h.Set("X-Robots-Tag", "noindex")
	h.Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(body.Bytes())
}

// frame answers GET /messages/{id}/html: a mail's HTML under a policy of its own, which takes it scripts, forms, remote
// pictures and its origin, also when it is opened by itself.
func (m *Mailbox) frame(w http.ResponseWriter, r *http.Request) {
	one, ok := m.byID(r.PathValue("id"))
	if !ok || one.HTML == "" {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'")
	h.Set("X-Robots-Tag", "noindex")
	_, _ = w.Write([]byte(one.HTML))
}

// script answers GET /refresh.js.
func (m *Mailbox) script(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(refreshJS)
}

// address shows an e-mail address that may break before its @, cut at 80 characters.
func address(s string) template.HTML {
	s = cut(s)
	if at := strings.LastIndexByte(s, '@'); at > 0 {
		return template.HTML(template.HTMLEscapeString(s[:at]) + "<wbr>" + template.HTMLEscapeString(s[at:]))
	}
	return template.HTML(template.HTMLEscapeString(s))
}

// cut keeps the first 80 characters.
func cut(s string) string {
	n := 0
	for i := range s {
		if n++; n > 80 {
			return s[:i] + "…"
		}
	}
	return s
}
