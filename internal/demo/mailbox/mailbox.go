// Package mailbox is the demonstration's mail service: it takes mail as Mailgun's API does and shows it to whoever asks.
//
// It owns Mailgun's side of POST /v3/DOMAIN/messages and of GET /v4/domains/DOMAIN, the list of what arrived as a page and as JSON, and nothing that leaves
// the machine: no mail is ever delivered. It is for loopback alone; everybody who reaches it reads every mail.
//
// Invariants:
//   - At most [MaxMails] mails are kept, the oldest go first; a request is at most [MaxMail] bytes. Nothing is on disk.
//   - Mail is shown as text. Its HTML is shown only in a frame without scripts, forms, remote pictures or an origin.
//   - Requests whose Host is a name other than localhost are refused, so that no web site can read along by pointing a name of
//     its own at this machine.
//
// Specifications: Mailgun's Messages API and Domains API; Content Security Policy Level 3.
package mailbox

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/html"
)

const (
	// MaxMails is how many mails are kept.
	MaxMails = 200
	// MaxMail is the size of the largest request that is taken.
	MaxMail = 256 << 10
	// maxRecipients of one request, each of whom gets a mail of their own in the list.
	maxRecipients = 20
)

// Config is how a mailbox is told apart from an open one.
type Config struct {
	// Domain is the sending domain that is taken. Empty: any.
	Domain string
	// APIKey is what senders have to show. Empty: nobody can send.
	APIKey string
	// Now tells when a mail arrives. Nil: time.Now.
	Now func() time.Time
}

// Mail is one mail to one person, as GET /api/messages gives it.
type Mail struct {
	To      string `json:"to"`
	From    string `json:"from"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	HTML    string `json:"html"`
	// Code is the six digits of the mail, empty if it has none.
	Code       string    `json:"code"`
	ReceivedAt time.Time `json:"received_at"`

	id        uint64
	template  string
	variables string
}

// Mailbox keeps mail in memory. It is safe for concurrent use.
type Mailbox struct {
	domain string
	key    [sha256.Size]byte
	open   bool // somebody may send
	now    func() time.Time
	began  time.Time // when the domain was made, as far as senders are told
	pages  *pages

	mu    sync.Mutex
	last  uint64
	mails []Mail // oldest first
}

// New returns an empty mailbox.
func New(cfg Config) *Mailbox {
	m := &Mailbox{domain: cfg.Domain, key: sha256.Sum256([]byte(cfg.APIKey)), open: cfg.APIKey != "", now: cfg.Now, pages: newPages()}
	if m.now == nil {
		m.now = time.Now
	}
	m.began = m.now().UTC()
	return m
}

// Handler serves the API and the pages.
func (m *Mailbox) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/{domain}/messages", m.receive)
	mux.HandleFunc("GET /v3/domains/{domain}", m.tellDomain)
	mux.HandleFunc("GET /v4/domains/{domain}", m.tellDomain)
	mux.HandleFunc("GET /api/messages", m.list)
	mux.HandleFunc("GET /{$}", m.page)
	mux.HandleFunc("GET /messages/{id}/html", m.frame)
	mux.HandleFunc("GET /refresh.js", m.script)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }) // none
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if !local(r.Host) {
			http.Error(w, "the mailbox answers on addresses and localhost only", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func local(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}

// Messages returns what arrived for an address, newest first; for "" all of it. Case does not matter.
func (m *Mailbox) Messages(to string) []Mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []Mail{}
	for _, one := range slices.Backward(m.mails) {
		if to == "" || strings.EqualFold(one.To, to) {
			out = append(out, one)
		}
	}
	return out
}

// admit lets a sender in who has the key and names the domain. Otherwise it has answered.
func (m *Mailbox) admit(w http.ResponseWriter, r *http.Request) (domain string, ok bool) {
	user, key, _ := r.BasicAuth()
	shown := sha256.Sum256([]byte(key))
	if !m.open || user != "api" || subtle.ConstantTimeCompare(shown[:], m.key[:]) != 1 {
		w.Header().Set("WWW-Authenticate", `Basic realm="MG API"`)
		http.Error(w, "Forbidden", http.StatusUnauthorized)
		return "", false
	}
	domain = r.PathValue("domain")
	if m.domain != "" && !strings.EqualFold(domain, m.domain) {
		answer(w, http.StatusNotFound, "", "Domain not found: "+domain)
		return "", false
	}
	return domain, true
}

// tellDomain answers GET /v4/domains/{domain} as Mailgun does for a domain whose DNS records it has found.
func (m *Mailbox) tellDomain(w http.ResponseWriter, r *http.Request) {
	name, ok := m.admit(w, r)
	if !ok {
		return
	}
	type record struct {
		Active   bool     `json:"is_active"`
		Cached   []string `json:"cached"`
		Name     string   `json:"name,omitempty"`
		Priority string   `json:"priority,omitempty"`
		Type     string   `json:"record_type"`
		Valid    string   `json:"valid"`
		Value    string   `json:"value"`
	}
	found := func(kind, name, priority, value string) record {
		return record{Active: true, Cached: []string{}, Name: name, Priority: priority, Type: kind, Valid: "valid", Value: value}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"domain": map[string]any{
			"id": "000000000000000000000001", "name": name, "state": "active", "type": "custom", "is_disabled": false,
			"created_at": m.began.Format("Mon, 02 Jan 2006 15:04:05 GMT"), "smtp_login": "postmaster@" + name, "spam_action": "disabled", "wildcard": false,
			"require_tls": false, "skip_verification": false, "web_prefix": "email", "web_scheme": "https",
		},
		"receiving_dns_records": []record{found("MX", "", "10", "mxa.mailgun.org"), found("MX", "", "10", "mxb.mailgun.org")},
		"sending_dns_records": []record{
			found("TXT", name, "", "v=spf1 include:mailgun.org ~all"), found("TXT", "demo._domainkey."+name, "", "k=rsa; p="), found("CNAME", "email."+name, "", "mailgun.org"),
		},
	})
}

// receive answers POST /v3/{domain}/messages as Mailgun does, urlencoded or multipart.
func (m *Mailbox) receive(w http.ResponseWriter, r *http.Request) {
	domain, ok := m.admit(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxMail)
	var err error
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" {
		err = r.ParseMultipartForm(MaxMail) // all of it in memory, since the body is no larger
	} else {
		err = r.ParseForm()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		answer(w, http.StatusRequestEntityTooLarge, "", fmt.Sprintf("message is larger than %d bytes", MaxMail))
		return
	case err != nil:
		answer(w, http.StatusBadRequest, "", "request body cannot be read")
		return
	}
	if r.MultipartForm != nil {
		defer r.MultipartForm.RemoveAll()
	}
	field := func(name string) string { return strings.ToValidUTF8(r.PostForm.Get(name), "\ufffd") }
	if field("from") == "" {
		answer(w, http.StatusBadRequest, "", "from parameter is missing")
		return
	}
	recipients, err := mail.ParseAddressList(strings.Join(r.PostForm["to"], ", "))
	if err != nil || len(recipients) > maxRecipients {
		answer(w, http.StatusBadRequest, "", "to parameter is not a valid address. please check documentation")
		return
	}
	one := Mail{
		From: field("from"), Subject: field("subject"), Text: field("text"), HTML: field("html"),
		template: field("template"), variables: field("h:X-Mailgun-Variables"), ReceivedAt: m.now().UTC(),
	}
	if one.Text == "" && one.HTML == "" && one.template == "" {
		answer(w, http.StatusBadRequest, "", "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified")
		return
	}
	one.Code = findCode(one, field("v:code"))
	var id uint64
	for _, to := range recipients {
		one.To = to.Address
		id = m.keep(one)
	}
	answer(w, http.StatusOK, fmt.Sprintf("<%d.%s@%s>", id, rand.Text(), domain), "Queued. Thank you.")
}

func (m *Mailbox) keep(one Mail) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	one.id = m.last
	if len(m.mails) == MaxMails {
		m.mails = slices.Delete(m.mails, 0, 1)
	}
	m.mails = append(m.mails, one)
	return one.id
}

// answer writes Mailgun's JSON.
func answer(w http.ResponseWriter, status int, id, message string) {
	writeJSON(w, status, struct {
		ID      string `json:"id,omitempty"`
		Message string `json:"message"`
	}{id, message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the reader has gone: nobody is left to tell
}

// list answers GET /api/messages?to=ADDRESS.
func (m *Mailbox) list(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, m.Messages(r.URL.Query().Get("to")))
}

func (m *Mailbox) byID(text string) (Mail, bool) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return Mail{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.mails {
		if one.id == id {
			return one, true
		}
	}
	return Mail{}, false
}

var sixDigits = regexp.MustCompile(`(?:^|[^0-9])([0-9]{6})(?:[^0-9]|$)`)

// findCode looks for the six digits where they are likeliest: variables, subject, text, and last what the HTML says.
func findCode(one Mail, variable string) string {
	var variables struct {
		Code json.RawMessage `json:"code"`
	}
	_ = json.Unmarshal([]byte(one.variables), &variables) // what is no JSON has no code
	for _, text := range []string{string(variables.Code), variable, one.Subject, one.Text, textOf(one.HTML)} {
		if found := sixDigits.FindStringSubmatch(text); found != nil {
			return found[1]
		}
	}
	return ""
}

// textOf returns what HTML says, without tags, styles and scripts: a colour such as #123456 is no code.
func textOf(markup string) string {
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(markup))
	hidden := false
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.StartTagToken:
			name, _ := z.TagName()
			hidden = string(name) == "style" || string(name) == "script"
		case html.EndTagToken:
			hidden = false
		case html.TextToken:
			if !hidden {
				b.Write(z.Text())
				b.WriteByte(' ')
			}
		}
	}
}
