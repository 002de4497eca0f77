package demo_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// TestEveryPageFits walks past every page of the demonstration, as a person meets them, and looks at each in three
// windows, light and dark: nothing beside the column, no control too small, nothing the browser complains about. With
// PORTERO_TEST_SHOTS=FOLDER it leaves a picture of each.
func TestEveryPageFits(t *testing.T) {
	t.Parallel()
	c := gatewaytest.NewChromium(t)
	for _, say := range []said{inEnglish, inSpanish} {
		t.Run(say.lang, func(t *testing.T) {
			t.Parallel()
			clock := gatewaytest.NewClock()
			d := start(t, demo.Config{Now: clock.Now, Extra: `  - {name: gone, title: Old application, path: /gone, upstreams: [{url: "http://127.0.0.1:1"}]}`})
			tour(visit(t, c, d, say, gatewaytest.Look{Phone: true}), clock)
		})
	}
}

// beside lists what reaches beyond the window, and controls that are too small for a thumb.
const beside = `(() => {
  const out = [], say = (e, r) => e.tagName + ' "' + e.textContent.trim().slice(0, 40) + '" ' + [r.left, r.top, r.right, r.bottom].map(Math.round).join(' ');
  if (document.documentElement.scrollWidth > innerWidth) out.push('the page scrolls sideways to ' + document.documentElement.scrollWidth);
  for (const e of document.querySelectorAll('body *')) {
    const r = e.getBoundingClientRect();
    if (r.width && r.height && (r.right > innerWidth + .5 || r.left < -.5)) out.push('beside: ' + say(e, r));
  }
  for (const e of document.querySelectorAll('button, a.button, input:not([type=hidden]), textarea, footer a')) {
    const r = e.getBoundingClientRect();
    if (r.height < 44 || r.width < 44) out.push('small: ' + say(e, r));
  }
  return out;
})()`

// look looks at a page in every window and colour.
func (v *visitor) look(tab *gatewaytest.Tab, name, heading string) {
	v.t.Helper()
	tab.AwaitHeading(heading)
	if got := gatewaytest.Eval[string](tab, "document.documentElement.lang"); got != v.say.lang {
		v.t.Errorf("%s: the page is in %q, want %q", name, got, v.say.lang)
	}
	for _, size := range []struct{ width, height int64 }{{320, 640}, {390, 844}, {1280, 800}} {
		tab.Resize(size.width, size.height)
		for _, dark := range []bool{false, true} {
			tab.Theme(dark)
			if !dark {
				for _, wrong := range gatewaytest.Eval[[]string](tab, beside) {
					v.t.Errorf("%s.%s at %d by %d: %s", name, v.say.lang, size.width, size.height, wrong)
				}
			}
			theme := map[bool]string{true: "dark", false: "light"}[dark]
			tab.Shot(fmt.Sprintf("tour/%s.%s.%d.%s", name, v.say.lang, size.width, theme))
		}
	}
}

func tour(v *visitor, clock *gatewaytest.Clock) {
	const address = "maria.jose.fernandez@example.com"
	mail := v.NewTab()
	mail.Open(v.d.Addresses.Mailbox)
	v.look(mail, "mailbox-empty", v.say.mailbox)

	v.Open(v.at("/public/page"))
	v.look(v.Tab, "sample-public", v.say.received)
	v.Open(v.at("/form"))
	v.look(v.Tab, "address", v.say.askAddress)
	v.Type("#identifier", address)
	v.ClickText(v.say.sendCode)
	v.look(v.Tab, "code", v.say.askCode)
	v.Type("#code", "00 00")
	v.ClickText(v.say.signIn)
	v.WaitVisible("[role=alert]")
	v.look(v.Tab, "code-wrong", v.say.askCode)
	v.Type("#code", v.code(address))
	v.look(v.mail, "mailbox", v.say.mailbox)
	v.ClickText(v.say.signIn)
	v.AwaitURL(v.at("/form"))
	v.look(v.Tab, "sample-form", v.say.form)
	form := v.NewTab()
	form.Open(v.at("/form"))
	form.Type("#title", strings.Repeat("long", 40))
	form.Click("main form button")
	v.look(form, "sample-sent", v.say.sent)
	form.Back()
	form.Type("#text", "kept")

	for _, page := range []struct{ name, path, heading string }{
		{"sample", "/reports?year=2026", v.say.received},
		{"own-page", "/_portero/", v.say.own + address},
		{"denied", "/admin/", v.say.denied},
		{"not-found", "/_portero/nothing", v.say.notFound},
		{"bad-request", "/a%2fb", v.say.badRequest},
		{"app-unavailable", "/gone", v.say.appGone},
		{"signed-in", "/_portero/signed-in", v.say.signedIn},
		{"sign-out", "/sign-out?return_to=%2Freports", v.say.confirm},
	} {
		v.Open(v.at(page.path))
		v.look(v.Tab, page.name, page.heading)
	}
	v.ClickText(v.say.signOut)
	v.look(v.Tab, "signed-out", v.say.signedOut)
	v.Open(v.at("/_portero/"))
	v.look(v.Tab, "own-page-signed-out", v.say.nobody)
	v.Open(v.d.Addresses.Provider + "/nothing")
	v.look(v.Tab, "provider-not-found", v.say.notFound)
	v.Open(v.at("/callback?state=x&code=y"))
	v.look(v.Tab, "sign-in-failed", v.say.failed)

	clock.Add(25 * time.Hour)
	form.Click("main form button")
	v.look(form, "form-not-sent", v.say.formNotSent)
	v.quiet(mail, form)
}
