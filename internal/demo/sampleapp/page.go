package sampleapp

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

//go:embed pages.html
var pagesHTML string

//go:embed style.css
var styleCSS string

//go:embed sample.js
var sampleJS []byte

type field struct {
	Name, Value string
	Length      int
}

type header struct {
	Name, Value string
	Ours        bool
}

// view is what the templates show.
type view struct {
	T               texts
	Style           template.CSS
	Heading         string
	Person          person
	Method, Path    string
	Headers         []header
	Fields          []field
	Milliseconds    int64
	OwnPage, Logout string
}

func (a *App) view(r *http.Request) view {
	path, query := target(r)
	if query != "" {
		path += "?" + query
	}
	return view{
		Person: a.person(r), Method: r.Method, Path: path,
		OwnPage: strings.TrimSuffix(a.cfg.Prefix, "/") + "/", Logout: a.cfg.SignOut,
	}
}

// texts are the pages' words in one language.
type texts struct {
	Lang, Other, OtherName                             string
	Notice, Title                                      string
	Received, You, Nobody, Request, Method, Path       string
	Headers, Name, Value, Origin, SetByPortero, Client string
	Form, Text, Message, Send, Sent, Field, Bytes      string
	NoFields, Back, WS, WSLead, WSNeedsScript, Log     string
	Slow, SlowLead, Links, OwnPage, SignOut            string
	LinkForm, LinkWS, LinkEvents, LinkSlow, LinkJSON   string
	LinkHints, Subject, Email, FullName                string
}

func english() texts {
	return texts{
		Lang: "en", Other: "es", OtherName: "Español",
		Notice: "Demonstration: runs on this computer only and forgets everything when it stops.", Title: "Sample application",
		Received: "What the application received", You: "Who you are", Nobody: "Nobody is signed in here.", Request: "Method and path", Method: "Method", Path: "Path",
		Headers: "Headers", Name: "Name", Value: "Value", Origin: "Where it comes from", SetByPortero: "set by Portero", Client: "sent by the browser",
		Form: "A form", Text: "Title", Message: "Text", Send: "Send the form", Sent: "What the form brought", Field: "Field", Bytes: "bytes",
		NoFields: "The form was empty.", Back: "Back to what arrived", WS: "A WebSocket that echoes", WSLead: "Write something: it comes back over the same connection.",
		WSNeedsScript: "This page needs a script to open a WebSocket.", Log: "What came back",
		Slow: "A slow answer", SlowLead: "This answer took its time, in milliseconds:", Links: "What you can try", OwnPage: "Your own page", SignOut: "Sign out",
		LinkForm: "Send a form", LinkWS: "Open a WebSocket", LinkEvents: "Watch an event stream", LinkSlow: "Wait for a slow answer", LinkJSON: "The headers as JSON", LinkHints: "Get early hints",
		Subject: "Subject", Email: "E-mail address", FullName: "Name",
	}
}

func spanish() texts {
	return texts{
		Lang: "es", Other: "en", OtherName: "English",
		Notice: "Demostración: funciona solo en este equipo y lo olvida todo al detenerse.", Title: "Aplicación de ejemplo",
		Received: "Lo que ha recibido la aplicación", You: "Quién eres", Nobody: "Aquí nadie ha iniciado sesión.", Request: "Método y ruta", Method: "Método", Path: "Ruta",
		Headers: "Cabeceras", Name: "Nombre", Value: "Valor", Origin: "De dónde viene", SetByPortero: "puesta por Portero", Client: "enviada por el navegador",
		Form: "Un formulario", Text: "Título", Message: "Texto", Send: "Enviar el formulario", Sent: "Lo que ha traído el formulario", Field: "Campo", Bytes: "bytes",
		NoFields: "El formulario estaba vacío.", Back: "Volver a lo que ha llegado", WS: "Un WebSocket que repite", WSLead: "Escribe algo: vuelve por la misma conexión.",
		WSNeedsScript: "Esta página necesita un script para abrir un WebSocket.", Log: "Lo que ha vuelto",
		Slow: "Una respuesta lenta", SlowLead: "Esta respuesta se ha tomado su tiempo, en milisegundos:", Links: "Qué puedes probar", OwnPage: "Tu página", SignOut: "Cerrar sesión",
		LinkForm: "Enviar un formulario", LinkWS: "Abrir un WebSocket", LinkEvents: "Ver un flujo de eventos", LinkSlow: "Esperar una respuesta lenta", LinkJSON: "Las cabeceras como JSON", LinkHints: "Recibir pistas tempranas",
		Subject: "Identificador", Email: "Dirección de correo electrónico", FullName: "Nombre",
	}
}

// pages is what all answers share: made once.
type pages struct {
	templates *template.Template
	policy    string
	matcher   language.Matcher
	byLocale  []texts // in the matcher's order
}

func newPages() *pages {
	hash := sha256.Sum256([]byte(styleCSS))
	return &pages{
		templates: template.Must(template.New("").Funcs(template.FuncMap{"address": address}).Parse(pagesHTML)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; script-src 'self'; connect-src 'self'; " +
			"img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
		matcher:  language.NewMatcher([]language.Tag{language.English, language.Spanish}),
		byLocale: []texts{english(), spanish()},
	}
}

func (p *pages) texts(r *http.Request) texts {
	accept := r.Header.Get("Accept-Language")
	if len(accept) > 512 {
		accept = ""
	}
	_, i := language.MatchStrings(p.matcher, r.URL.Query().Get("lang"), accept)
	return p.byLocale[i]
}

func (p *pages) render(w http.ResponseWriter, r *http.Request, name string, v view) {
	v.T, v.Style = p.texts(r), template.CSS(styleCSS)
	v.Heading = map[string]string{"form": v.T.Form, "sent": v.T.Sent, "ws": v.T.WS, "slow": v.T.Slow, "received": v.T.Received}[name]
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, v); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.T.Lang)
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Language")
	_, _ = w.Write(body.Bytes())
}

// script answers /sample.js.
func (a *App) script(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(sampleJS)
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
