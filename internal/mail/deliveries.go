package mail

import (
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"
)

// The usages of a mail with a code, as Logto names them.
const (
	Register       = "Register"
	SignIn         = "SignIn"
	ForgotPassword = "ForgotPassword"
	Generic        = "Generic"
)

// Usages returns the names that a delivery can have.
func Usages() []string { return []string{Register, SignIn, ForgotPassword, Generic} }

// Variable is a value for a template, or for {{name}} in subject, text and HTML.
type Variable struct{ Name, Value string }

// Delivery is how mails of one usage look: content with {{code}} in it, or a template at Mailgun.
type Delivery struct {
	Usage   string
	Subject string
	ReplyTo string // empty: none
	HTML    string
	Text    string
	// Template is a template's name at Mailgun; it excludes HTML and Text and gets the code as the variable `code`.
	Template  string
	Variables []Variable
}

// Default returns the delivery that stands where nothing is configured, in English and Spanish since one text goes to all.
// name is what the application is called; the code is {{code}}.
func Default(usage, name string) Delivery {
	sentences := func(name string) (en, es string) {
		return "Your code for " + name + " is {{code}}. It is good for ten minutes. If you did not ask for it, you can ignore this message.",
			"Tu código para " + name + " es {{code}}. Sirve durante diez minutos. Si no lo has pedido, puedes ignorar este mensaje."
	}
	en, es := sentences(name)
	enHTML, esHTML := sentences(html.EscapeString(name))
	return Delivery{
		Usage:   usage,
		Subject: "{{code}} is your code · {{code}} es tu código",
		Text:    en + " / " + es,
		// The code is one piece of text, so that it can be copied with one tap and mail clients can offer it.
		HTML: `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{code}}</title></head>` +
			`<body style="margin:1.5rem;font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:1rem;line-height:1.5">` +
			`<p style="margin:0 0 1rem;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:2rem;line-height:1.25">{{code}}</p>` +
			`<p style="margin:0 0 1rem">` + enHTML + `</p><p lang="es" style="margin:0">` + esHTML + `</p></body></html>`,
	}
}

// Deliveries chooses and fills in the mail for a code.
type Deliveries struct {
	name string
	list []Delivery
}

// NewDeliveries checks what is configured. name is what the default mail calls the application. No deliveries are fine.
func NewDeliveries(name string, list []Delivery) (*Deliveries, error) {
	seen := map[string]bool{}
	for i, d := range list {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("deliveries[%d]: %s", i, fmt.Sprintf(format, args...))
		}
		switch {
		case !slices.Contains(Usages(), d.Usage):
			return nil, bad("usage %q is unknown; write one of %s", d.Usage, strings.Join(Usages(), ", "))
		case seen[d.Usage]:
			return nil, bad("usage %s is there twice", d.Usage)
		case d.Template != "" && (d.HTML != "" || d.Text != ""):
			return nil, bad("has a template and content of its own; keep one of them")
		case d.Template == "" && d.HTML == "":
			return nil, bad("has neither html nor template")
		case d.Template == "" && !mentionsCode(d):
			return nil, bad("the code is in neither html nor subject; write {{code}} where it belongs")
		case hasControl(d.Subject):
			return nil, bad("the subject has control characters")
		}
		seen[d.Usage] = true
	}
	return &Deliveries{name: name, list: slices.Clone(list)}, nil
}

func mentionsCode(d Delivery) bool {
	const probe = "\x00code\x00"
	only := map[string]string{"code": probe}
	return strings.Contains(fill(d.HTML, only, nil), probe) || strings.Contains(fill(d.Subject, only, nil), probe)
}

// For returns the delivery of a usage: its own, else the configured Generic one (as Logto falls back), else the default.
func (d *Deliveries) For(usage string) Delivery {
	for _, want := range []string{usage, Generic} {
		for _, one := range d.list {
			if one.Usage == want {
				return one
			}
		}
	}
	return Default(usage, d.name)
}

// ErrNoDelivery is returned by Configured where Logto would have nothing to send.
var ErrNoDelivery = errors.New("no delivery is configured")

// Configured is For without the default, save where nothing at all is configured: a usage that has neither a delivery of its
// own nor a Generic one is an error, as it is for Logto (connector.template_not_found).
func (d *Deliveries) Configured(usage string) (Delivery, error) {
	for _, one := range d.list {
		if one.Usage == usage || one.Usage == Generic {
			return d.For(usage), nil
		}
	}
	if len(d.list) > 0 {
		return Delivery{}, fmt.Errorf("%w for %s in mailgun.deliveries, and no Generic one", ErrNoDelivery, usage)
	}
	return Default(usage, d.name), nil
}

// Message returns the mail that brings a code to an address.
func (d *Deliveries) Message(usage, to, code string) Message {
	return d.For(usage).Message(to, code)
}

// Message returns the mail that brings a code to an address.
func (one Delivery) Message(to, code string) Message {
	values := map[string]string{}
	for _, v := range one.Variables {
		values[v.Name] = v.Value
	}
	values["code"] = code
	msg := Message{To: to, Subject: fill(one.Subject, values, nil), ReplyTo: one.ReplyTo}
	if one.Template != "" {
		msg.Template, msg.Variables = one.Template, values
		return msg
	}
	msg.Text = fill(one.Text, values, nil)
	msg.HTML = fill(one.HTML, values, html.EscapeString)
	return msg
}

// fill replaces each {{name}} that has a value, in one pass: a value is never searched for more names. Names without a value
// stay as they are, as Logto leaves them.
func fill(text string, values map[string]string, escape func(string) string) string {
	var b strings.Builder
	for {
		open := strings.Index(text, "{{")
		if open < 0 {
			break
		}
		end := strings.Index(text[open:], "}}")
		if end < 0 {
			break
		}
		value, known := values[strings.TrimSpace(text[open+2:open+end])]
		if !known { // perhaps a name begins one brace later
			b.WriteString(text[:open+1])
			text = text[open+1:]
			continue
		}
		if escape != nil {
			value = escape(value)
		}
		b.WriteString(text[:open])
		b.WriteString(value)
		text = text[open+end+2:]
	}
	b.WriteString(text)
	return b.String()
}
