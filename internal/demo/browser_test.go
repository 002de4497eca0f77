package demo_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// said is what the pages say in one language.
type said struct {
	lang                                               string
	askAddress, sendCode, askCode, signIn              string
	received, own, signOut, confirm, signedOut, again  string
	ownPage, denied, otherAccount, goToStart, notFound string
	badRequest, appGone, formNotSent, signInNewTab     string
	signedIn, form, sent, framed, mailbox              string
	nobody, failed, byPortero                          string
}

var inEnglish = said{
	lang:       "en",
	askAddress: "Sign in", sendCode: "Send code", askCode: "Enter the code", signIn: "Sign in",
	received: "What the application received", own: "Signed in as ", signOut: "Sign out", confirm: "Sign out of Sample application?",
	signedOut: "You are signed out", again: "Sign in again",
	ownPage: "Your own page", denied: "You do not have access to Sample application", otherAccount: "Use another account",
	goToStart: "Go to start", notFound: "There is nothing at this address",
	badRequest: "This address cannot be opened", appGone: "Old application is not answering", formNotSent: "Your form has not been sent",
	signInNewTab: "Sign in, new tab", signedIn: "You are signed in", sent: "What the form brought", framed: "Sign in to see this part", mailbox: "Mailbox",
	form: "A form", nobody: "You are not signed in", failed: "Signing in could not be finished", byPortero: "set by Portero",
}

var inSpanish = said{
	lang:       "es",
	askAddress: "Inicia sesión", sendCode: "Enviar código", askCode: "Escribe el código", signIn: "Iniciar sesión",
	received: "Lo que ha recibido la aplicación", own: "Has iniciado sesión como ", signOut: "Cerrar sesión", confirm: "¿Cerrar sesión en Sample application?",
	signedOut: "Has cerrado sesión", again: "Iniciar sesión de nuevo",
	ownPage: "Tu página", denied: "No tienes acceso a Sample application", otherAccount: "Usar otra cuenta",
	goToStart: "Ir al inicio", notFound: "En esta dirección no hay nada",
	badRequest: "No se puede abrir esta dirección", appGone: "Old application no responde", formNotSent: "El formulario no se ha enviado",
	signInNewTab: "Iniciar sesión en otra pestaña", signedIn: "Ya has iniciado sesión", sent: "Lo que ha traído el formulario", framed: "Inicia sesión para ver esta parte", mailbox: "Buzón",
	form: "Un formulario", nobody: "No has iniciado sesión", failed: "No se ha podido terminar el inicio de sesión", byPortero: "puesta por Portero",
}

// visitor is a person in front of a demonstration: a tab to work in, and one with the mailbox.
type visitor struct {
	*gatewaytest.Tab
	t    *testing.T
	d    *demo.Demo
	say  said
	mail *gatewaytest.Tab // nil: not opened yet
}

func visit(t *testing.T, c *gatewaytest.Chromium, d *demo.Demo, say said, look gatewaytest.Look) *visitor {
	t.Helper()
	look.Language = say.lang
	return &visitor{Tab: c.Person(t, look), t: t, d: d, say: say}
}

// at is the address of a path behind the gateway.
func (v *visitor) at(path string) string { return v.d.Addresses.Gateway + path }

// code reads the newest code for an address as a person does: in the mailbox's page.
func (v *visitor) code(address string) string {
	v.t.Helper()
	if v.mail == nil {
		v.mail = v.NewTab()
	}
	v.mail.Open(v.d.Addresses.Mailbox)
	find := fmt.Sprintf(`[...document.querySelectorAll('#mails > li')].find(e => e.querySelector('dd').textContent === %q)?.querySelector('.code')?.textContent`, address)
	v.mail.Await("mail for "+address, "!!"+find)
	return gatewaytest.Eval[string](v.mail, find)
}

// signIn goes through the provider's two pages in a tab of the person.
func (v *visitor) signIn(tab *gatewaytest.Tab, address string) {
	v.t.Helper()
	v.askCode(tab, address)
	tab.Type("#code", v.code(address))
	tab.ClickText(v.say.signIn)
}

func (v *visitor) askCode(tab *gatewaytest.Tab, address string) {
	v.t.Helper()
	tab.AwaitHeading(v.say.askAddress)
	tab.Type("#identifier", address)
	tab.ClickText(v.say.sendCode)
	tab.AwaitHeading(v.say.askCode)
}

// landed checks that a tab shows the application on a path, to a person.
func (v *visitor) landed(tab *gatewaytest.Tab, path, address string) {
	v.t.Helper()
	tab.AwaitURL(v.at(path))
	tab.AwaitHeading(v.say.received)
	if got, want := tab.Text("main > p > code"), "GET "+path; got != want {
		v.t.Errorf("the application saw %q, want %q", got, want)
	}
	if got := tab.Text("main dl dd"); got != address {
		v.t.Errorf("the application was told %q, want %q", got, address)
	}
	row := `[...document.querySelectorAll('tbody tr')].map(e => [...e.children].map(e => e.textContent).join('|')).find(e => e.startsWith('X-Forwarded-Email|')) ?? ''`
	if got, want := gatewaytest.Eval[string](tab, row), "X-Forwarded-Email|"+address+"|"+v.say.byPortero; got != want {
		v.t.Errorf("the table of headers has %q, want %q", got, want)
	}
}

// quiet checks that no page of a tab made the browser complain.
func (v *visitor) quiet(tabs ...*gatewaytest.Tab) {
	v.t.Helper()
	for _, tab := range append(tabs, v.Tab, v.mail) {
		if tab == nil {
			continue
		}
		for _, complaint := range tab.Console() {
			v.t.Errorf("console: %s", complaint)
		}
	}
}

// TestChromium tells the story in a real browser, which applies the pages' policies to what is pressed on them.
func TestChromium(t *testing.T) {
	t.Parallel()
	c := gatewaytest.NewChromium(t)

	for _, say := range []said{inEnglish, inSpanish} {
		look := gatewaytest.Look{}
		if say.lang == "es" {
			look = gatewaytest.Look{Width: 390, Height: 844, Phone: true}
		}
		t.Run("from a deep link to the sign-out, "+say.lang, func(t *testing.T) {
			t.Parallel()
			story(t, visit(t, c, start(t, demo.Config{}), say, look))
		})
	}
	t.Run("with parallel interactions each tab ends on its own page", func(t *testing.T) {
		t.Parallel()
		tenTabs(t, visit(t, c, start(t, demo.Config{ParallelInteractions: true}), inEnglish, gatewaytest.Look{}))
	})
	t.Run("with one interaction each tab ends well", func(t *testing.T) {
		t.Parallel()
		oneInteraction(t, visit(t, c, start(t, demo.Config{}), inEnglish, gatewaytest.Look{}))
	})
	t.Run("a form sent too late is not lost", func(t *testing.T) {
		t.Parallel()
		clock := gatewaytest.NewClock()
		lateForm(t, visit(t, c, start(t, demo.Config{Now: clock.Now}), inEnglish, gatewaytest.Look{}), clock)
	})
	t.Run("a second host is silent, and one sign-out ends both", func(t *testing.T) {
		t.Parallel()
		d := start(t, demo.Config{Extra: `  - {name: wiki, title: Wiki, hosts: [wiki.localhost], path: /, upstreams: [{url: "APPLICATION"}]}`})
		twoHosts(t, visit(t, c, d, inEnglish, gatewaytest.Look{}))
	})
	t.Run("with a keyboard alone", func(t *testing.T) {
		t.Parallel()
		keyboard(t, visit(t, c, start(t, demo.Config{}), inEnglish, gatewaytest.Look{}))
	})
	t.Run("who is denied uses another account", func(t *testing.T) {
		t.Parallel()
		otherAccount(t, visit(t, c, start(t, demo.Config{}), inEnglish, gatewaytest.Look{}))
	})
	t.Run("a frame whose session has ended signs in around it", func(t *testing.T) {
		t.Parallel()
		frame(t, c)
	})
}

func story(t *testing.T, v *visitor) {
	const path, address = "/reports?year=2026&q=a%2Bb%20c&q=%C3%B1", "ana@example.com"
	shot := func(tab *gatewaytest.Tab, name string) { tab.Shot("story-" + v.say.lang + "/" + name) }

	v.Open(v.at(path))
	v.AwaitHeading(v.say.askAddress)
	if got := v.URL(); !strings.HasPrefix(got, v.d.Addresses.Provider) {
		t.Fatalf("opening a page signed out led to %s, want the provider", got)
	}
	shot(v.Tab, "01-address")
	v.askCode(v.Tab, address)
	shot(v.Tab, "02-code")
	v.Type("#code", v.code(address))
	shot(v.mail, "03-mailbox")
	v.ClickText(v.say.signIn)
	v.landed(v.Tab, path, address)
	shot(v.Tab, "04-application")

	// The own page's button.
	v.ClickText(v.say.ownPage)
	v.AwaitHeading(v.say.own + address)
	shot(v.Tab, "05-own-page")
	v.ClickText(v.say.signOut)
	v.AwaitHeading(v.say.signedOut)
	if got, want := v.URL(), v.at("/_portero/signed-out"); !strings.HasPrefix(got, want) {
		t.Errorf("after signing out: at %s, want %s", got, want)
	}
	shot(v.Tab, "06-signed-out")

	// Going back shows nothing of what was there: our page says who is signed in now, the application's is asked for again.
	v.Back()
	v.AwaitHeading(v.say.nobody)
	v.Back()
	v.AwaitHeading(v.say.askAddress)

	// The application asks again, and a code is needed again; nobody is told who was here. Then the confirm page's button.
	v.Open(v.at(path))
	v.AwaitHeading(v.say.askAddress)
	if got := gatewaytest.Eval[string](v.Tab, "document.querySelector('#identifier').value"); got != "" {
		t.Errorf("after the sign-out the address field says %q", got)
	}
	v.signIn(v.Tab, address)
	v.landed(v.Tab, path, address)
	v.Open(v.at("/sign-out"))
	v.AwaitHeading(v.say.confirm)
	shot(v.Tab, "07-confirm")
	v.ClickText(v.say.signOut)
	v.AwaitHeading(v.say.signedOut)
	v.ClickText(v.say.again)
	v.AwaitHeading(v.say.askAddress)
	v.quiet()
}

func tenTabs(t *testing.T, v *visitor) {
	const address = "ten@example.com"
	tabs := []*gatewaytest.Tab{v.Tab}
	for n := range 10 {
		if n > 0 {
			tabs = append(tabs, v.NewTab())
		}
		tabs[n].Open(v.at(page(n)))
		tabs[n].AwaitHeading(v.say.askAddress)
	}
	v.askCode(tabs[8], address)
	v.askCode(tabs[9], address)
	v.signIn(tabs[3], address)
	v.landed(tabs[3], page(3), address)
	for n, tab := range tabs {
		switch {
		case n == 3:
			continue
		case n == 8: // the form it shows is sent, with a code that is not asked for any more
			tab.Type("#code", "000000")
			tab.ClickText(v.say.signIn)
		case n%2 == 0:
			tab.Type("#identifier", address)
			tab.ClickText(v.say.sendCode)
		default:
			tab.Reload()
		}
		v.landed(tab, page(n), address)
	}
	v.quiet(tabs...)
}

func page(n int) string { return fmt.Sprintf("/page/%d?n=%d", n, n) }

func oneInteraction(t *testing.T, v *visitor) {
	const address = "one@example.com"
	// A page of the provider from a bookmark leads to a page that offers a sign-in.
	v.Open(v.d.Addresses.Provider + "/sign-in")
	v.AwaitHeading(v.say.nobody)
	if got, want := v.URL(), v.at("/_portero/continue"); got != want {
		t.Errorf("the provider sent a browser it does not know to %s, want %s", got, want)
	}
	v.ClickText(v.say.signIn)
	v.AwaitHeading(v.say.askAddress)

	tabs := []*gatewaytest.Tab{v.Tab}
	for n := range 6 {
		if n > 0 {
			tabs = append(tabs, v.NewTab())
		}
		tabs[n].Open(v.at(page(n)))
		tabs[n].AwaitHeading(v.say.askAddress)
	}
	const last = 5
	v.askCode(tabs[1], address)
	v.signIn(tabs[0], address)
	v.landed(tabs[0], page(last), address) // the page asked for last

	// The others show what they showed. Whatever is pressed there ends on a page of the application.
	tabs[1].Type("#code", "000000")
	tabs[1].ClickText(v.say.signIn)
	tabs[2].Type("#identifier", address)
	tabs[2].ClickText(v.say.sendCode)
	tabs[3].Reload()
	tabs[4].Open(v.at("/_portero/continue"))
	tabs[5].Reload()
	for _, tab := range tabs[1:] {
		tab.AwaitHeading(v.say.received)
		if got := tab.URL(); !strings.HasPrefix(got, v.at("/page/")) {
			t.Errorf("a tab that was left open ends at %s, want a page that was asked for", got)
		}
	}
	// Each has its own page when its address is opened again.
	for n, tab := range tabs {
		tab.Open(v.at(page(n)))
		v.landed(tab, page(n), address)
	}
	v.quiet(tabs...)
}

func lateForm(t *testing.T, v *visitor, clock *gatewaytest.Clock) {
	const address, size = "late@example.com", 100 << 10
	v.Open(v.at("/form"))
	v.signIn(v.Tab, address)
	v.AwaitURL(v.at("/form"))
	v.Type("#title", "kept")
	gatewaytest.Eval[int](v.Tab, fmt.Sprintf(`(document.querySelector('#text').value = 'ñ'.repeat(%d)).length`, size/2))
	clock.Add(25 * time.Hour) // past idle_timeout
	v.Click("main form button")
	v.AwaitHeading(v.say.formNotSent)
	if got := v.URL(); got != v.at("/form") {
		t.Errorf("the form that was not sent is at %s, want %s", got, v.at("/form"))
	}
	v.Shot("late-form/1-form-not-sent")

	second := v.ClickNewTab("main a.button")
	v.signIn(second, address)
	second.AwaitHeading(v.say.signedIn)
	second.Shot("late-form/2-signed-in")

	v.Reload()
	v.AwaitHeading(v.say.sent)
	want := map[string]string{"title": "4", "text": fmt.Sprint(size)}
	got := gatewaytest.Eval[map[string]string](v.Tab, `Object.fromEntries([...document.querySelectorAll('tbody tr')].map(e => [e.querySelector('th').textContent, e.querySelector('.number').textContent]))`)
	if got["title"] != want["title"] || got["text"] != want["text"] {
		t.Errorf("the application got %v, want %v bytes of each field", got, want)
	}
	v.quiet(second)
}

func twoHosts(t *testing.T, v *visitor) {
	const address = "both@example.com"
	other := strings.Replace(v.d.Addresses.Gateway, "localhost", "wiki.localhost", 1)
	v.Open(v.at("/here"))
	v.signIn(v.Tab, address)
	v.landed(v.Tab, "/here", address)

	wiki := v.NewTab()
	wiki.Open(other + "/start?a=1")
	wiki.AwaitURL(other + "/start?a=1") // nothing was asked
	wiki.AwaitHeading(v.say.received)
	if len(wiki.Cookies(other)) == 0 {
		t.Error("the second host has no cookie of its own")
	}

	v.Open(v.at("/_portero/"))
	v.ClickText(v.say.signOut)
	v.AwaitHeading(v.say.signedOut)
	wiki.Reload()
	wiki.AwaitHeading(v.say.askAddress)

	// And the other way round, with the other host's own page.
	v.signIn(wiki, address)
	wiki.AwaitURL(other + "/start?a=1")
	v.Open(v.at("/here"))
	v.landed(v.Tab, "/here", address)
	wiki.Open(other + "/_portero/")
	wiki.ClickText(v.say.signOut)
	wiki.AwaitHeading(v.say.signedOut)
	if got := wiki.URL(); !strings.HasPrefix(got, other+"/_portero/signed-out") {
		t.Errorf("signed out at %s, want the host where the button is", got)
	}
	v.Reload()
	v.AwaitHeading(v.say.askAddress)
	v.quiet(wiki)
}

// tabTo presses Tab until a control has the focus, and checks that one can see it.
func (v *visitor) tabTo(control string) {
	v.t.Helper()
	for range 30 {
		v.Press("\t")
		at := v.Focus()
		if at.Text == control {
			if at.Outline != "3px" {
				v.t.Errorf("%q has an outline of %s when it has the focus, want 3px", control, at.Outline)
			}
			return
		}
	}
	v.t.Fatalf("Tab does not reach %q on %s", control, v.URL())
}

func keyboard(t *testing.T, v *visitor) {
	const address = "keys@example.com"
	v.Open(v.at("/keys"))
	v.AwaitHeading(v.say.askAddress)
	v.Press(address + "\r") // the field has the focus
	v.AwaitHeading(v.say.askCode)
	code := v.code(address)
	v.Press(code[:3] + " " + code[3:] + "\r")
	v.landed(v.Tab, "/keys", address)
	v.tabTo(v.say.ownPage)
	v.Press("\r")
	v.AwaitHeading(v.say.own + address)
	v.tabTo(v.say.signOut)
	v.Press("\r")
	v.AwaitHeading(v.say.signedOut)
	v.tabTo(v.say.again)
	v.Press("\r")
	v.AwaitHeading(v.say.askAddress)
	v.quiet()
}

func otherAccount(t *testing.T, v *visitor) {
	const path, refused, welcome = "/admin/people?id=7", "somebody@example.com", "root@admin.example"
	v.Open(v.at(path))
	v.signIn(v.Tab, refused)
	v.AwaitHeading(v.say.denied)
	if got := v.Text("main"); !strings.Contains(got, refused) {
		t.Errorf("the page does not say who is denied: %q", got)
	}

	// The page in the other language, and back.
	v.ClickText("Español")
	v.AwaitHeading(inSpanish.denied)
	v.ClickText("English")
	v.AwaitHeading(v.say.denied)
	if got := v.URL(); got != v.at(path) {
		t.Errorf("after the language switch: at %s, want %s", got, v.at(path))
	}

	v.ClickText(v.say.otherAccount)
	v.signIn(v.Tab, welcome)
	v.landed(v.Tab, path, welcome)

	// The application's own link signs out without asking.
	v.ClickText(v.say.signOut)
	v.AwaitHeading(v.say.signedOut)
	v.quiet()
}

func frame(t *testing.T, c *gatewaytest.Chromium) {
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><html lang=en><title>Outer</title><link rel=icon href="data:,"><h1>Outer</h1><iframe src="/inside" width=200 height=150></iframe>`)
	}))
	t.Cleanup(outer.Close)
	d := start(t, demo.Config{Extra: fmt.Sprintf("  - {name: outer, path: /outer, access: public, upstreams: [{url: %q}]}", outer.URL)})
	v := visit(t, c, d, inEnglish, gatewaytest.Look{})
	const inside = "document.querySelector('iframe').contentDocument"
	heading := func(want string) {
		t.Helper()
		v.Await("the frame to say "+want, fmt.Sprintf("%s?.querySelector('h1')?.textContent === %q", inside, want))
	}
	v.Open(v.at("/outer?page=7"))
	heading(v.say.framed)
	v.Shot("framed")
	gatewaytest.Eval[bool](v.Tab, "!"+inside+".querySelector('main a').click()")
	v.signIn(v.Tab, "frame@example.com")
	v.AwaitURL(v.at("/outer?page=7"))
	heading(v.say.received)
	v.quiet()
}
