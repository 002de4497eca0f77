package mail_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"portero/internal/mail"
)

func TestInvitation(t *testing.T) {
	t.Parallel()
	const link = "https://wiki.example.com/_portero/invitation?i=AaC1JJr1&x=2"
	msg := mail.Invitation{To: "ann@example.com", App: "Wiki", Link: link, Ends: time.Date(2026, 9, 3, 9, 5, 7, 0, time.FixedZone("", 7200))}.Message()
	const text = `You are invited to Wiki. This link signs you in and takes you to the page. It works once, until 3 Sep 2026, 07:05 UTC, and it is for you alone: do not pass it on.

Tienes una invitación para Wiki. Este enlace inicia tu sesión y te lleva a la página. Sirve una vez, hasta el 3 sept 2026, 07:05 UTC, y es solo para ti: no lo compartas.

https://wiki.example.com/_portero/invitation?i=AaC1JJr1&x=2

If you did not expect this message, you can ignore it. / Si no esperabas este mensaje, puedes ignorarlo.
`
	if msg.To != "ann@example.com" || msg.Subject != "You are invited to Wiki · Tienes una invitación para Wiki" || msg.Text != text || !msg.Untracked {
		t.Errorf("got %+v", msg)
	}
	if got := links(t, msg.HTML); len(got) != 1 || got[0] != link {
		t.Errorf("got the links %q, want the one", got)
	}
	for _, sentence := range []string{"It works once, until 3 Sep 2026, 07:05 UTC", "Sirve una vez, hasta el 3 sept 2026, 07:05 UTC", "you can ignore it.", "puedes ignorarlo."} {
		if !strings.Contains(msg.HTML, sentence) {
			t.Errorf("%q is missing in\n%s", sentence, msg.HTML)
		}
	}

	r := newRecorder(t)
	if err := newMailer(t, "", &http.Client{Transport: r}).Send(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	form := r.last(t).Form
	if form["o:tracking"] != "no" || form["text"] != text || form["html"] != msg.HTML || form["to"] != "ann@example.com" {
		t.Errorf("got %q", form)
	}
	msg.Untracked = false
	if err := newMailer(t, "", &http.Client{Transport: r}).Send(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
	if got, told := r.last(t).Form["o:tracking"]; told {
		t.Errorf("a mail that may be tracked: got o:tracking %q", got)
	}
}

// links are where the links of a document lead; anything else that could load or run something fails the test.
func links(t *testing.T, document string) (out []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "html", "head", "meta", "title", "body", "p", "span", "bdi":
		case "a":
			for _, a := range n.Attr {
				if a.Key == "href" {
					out = append(out, a.Val)
				}
			}
		default:
			t.Errorf("the element <%s> is in\n%s", n.Data, document)
		}
		for _, a := range n.Attr {
			if a.Key != "href" && a.Key != "lang" && a.Key != "style" && a.Key != "charset" {
				t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
		}
	}
	return out
}

// A name is written by an operator, yet it can be anything.
func TestInvitationNames(t *testing.T) {
	t.Parallel()
	const link = `https://wiki.example.com/_portero/invitation?i=A"><script>alert(1)</script>`
	for _, app := range []string{
		"", "<b>Wiki</b>", `Wiki</title><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "Wiki\r\nBcc: eve@evil.example", "Wiki\u2028Bcc: eve",
		"\u202eikiW", "{{code}} %recipient% %s %d", strings.Repeat("Wiki ", 100), "Küche & Keller", "\xff\xfe",
	} {
		msg := mail.Invitation{To: "ann@example.com", App: app, Link: link, Ends: time.Unix(1800000000, 0)}.Message()
		if strings.ContainsAny(msg.Subject, "\r\n\x00\u2028\u202e") || len([]rune(msg.Subject)) > 250 || strings.Contains(msg.Subject+msg.Text, "%!") {
			t.Errorf("%q: got the subject %q", app, msg.Subject)
		}
		if got := links(t, msg.HTML); len(got) != 1 || got[0] != link {
			t.Errorf("%q: got the links %q", app, got)
		}
		if err := newMailer(t, "", &http.Client{Transport: newRecorder(t)}).Send(t.Context(), msg); err != nil {
			t.Errorf("%q: %v", app, err)
		}
	}
}
