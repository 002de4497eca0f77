package mail

import (
	"fmt"
	"html"
	"strings"
	"time"
	"unicode"
)

// Invitation is what the mail with a link says that signs somebody in.
type Invitation struct {
	To   string    // whose it is
	App  string    // what the application is called
	Link string    // a secret
	Ends time.Time // when it runs out
}

// Message returns the mail of an invitation, in English and Spanish since one text goes to all. Mailgun is told to leave
// the link alone: counting who follows it would hand it to others, and make programs that look through mails open it.
func (i Invitation) Message() Message {
	app := oneLine(i.App)
	const en = "This link signs you in and takes you to the page. It works once, until %s, and it is for you alone: do not pass it on."
	const es = "Este enlace inicia tu sesión y te lleva a la página. Sirve una vez, hasta el %s, y es solo para ti: no lo compartas."
	const ignoreEN, ignoreES = "If you did not expect this message, you can ignore it.", "Si no esperabas este mensaje, puedes ignorarlo."
	enEnds, esEnds := moment(i.Ends, monthsEN), moment(i.Ends, monthsES)

	text := fmt.Sprintf("You are invited to %s. "+en+"\n\nTienes una invitación para %s. "+es+"\n\n%s\n\n%s / %s\n", app, enEnds, app, esEnds, i.Link, ignoreEN, ignoreES)
	name, link := "<bdi>"+html.EscapeString(app)+"</bdi>", html.EscapeString(i.Link)
	return Message{
		To:        i.To,
		Subject:   fmt.Sprintf("You are invited to %s · Tienes una invitación para %s", app, app),
		Text:      text,
		Untracked: true,
		HTML: `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>` + html.EscapeString(app) + `</title></head>` +
			`<body style="margin:1.5rem;font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;font-size:1rem;line-height:1.5">` +
			`<p style="margin:0 0 1rem">You are invited to ` + name + `. ` + fmt.Sprintf(en, enEnds) + `</p>` +
			`<p lang="es" style="margin:0 0 1.5rem">Tienes una invitación para ` + name + `. ` + fmt.Sprintf(es, esEnds) + `</p>` +
			`<p style="margin:0 0 1.5rem"><a href="` + link + `" style="display:inline-block;padding:.5rem 1.25rem;border-radius:.5rem;` +
			`background:#0b5cad;color:#ffffff;font-weight:600;text-decoration:none">Sign in · <span lang="es">Iniciar sesión</span></a></p>` +
			`<p style="margin:0">` + ignoreEN + ` <span lang="es">` + ignoreES + `</span></p></body></html>`,
	}
}

var (
	monthsEN = [12]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
	monthsES = [12]string{"ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"}
)

// moment is a time whose zone everybody can tell, as the pages write it: 22 Nov 2026, 07:40 UTC.
func moment(t time.Time, months [12]string) string {
	t = t.UTC()
	return fmt.Sprintf("%d %s %d, %s UTC", t.Day(), months[t.Month()-1], t.Year(), t.Format("15:04"))
}

// maxApp is how many characters of a name are shown in a mail.
const maxApp = 80

// oneLine makes a name fit for a subject: no control characters and none that turn the direction of the text, 80
// characters.
func oneLine(name string) string {
	var out []rune
	for _, r := range name {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			r = ' '
		}
		if out = append(out, r); len(out) > maxApp {
			out = append(out[:maxApp-1], '…')
			break
		}
	}
	return strings.TrimSpace(string(out))
}
