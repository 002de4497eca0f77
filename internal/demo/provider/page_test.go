package provider_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"portero/internal/demo/provider"
)

// words returns what a page says, element by element in the order of the source, with the accessible structure left out.
func (v view) words(t *testing.T) []string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "title", "h1", "p", "label", "button", "a":
			if text := said(n); text != "" && !(n.Data == "p" && n.FirstChild != nil && n.FirstChild.Data == "a") {
				all = append(all, n.Data+": "+text)
			}
		}
	}
	return all
}

func said(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

const (
	noticeEN = "p: Demonstration: runs on this computer only and forgets everything when it stops."
	noticeES = "p: Demostración: funciona solo en este equipo y lo olvida todo al detenerse."
)

func TestWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	page := func(language string, steps ...func(*browser, view) view) []string {
		t.Helper()
		b := w.browser()
		b.language = language
		v := b.open(w.authorization(nil))
		for _, step := range steps {
			v = step(b, v)
		}
		checkPage(t, v)
		return v.words(t)
	}
	address := func(b *browser, v view) view { return b.fill(v, "identifier", "ann@example.com") }
	unreadable := func(b *browser, v view) view { return b.fill(v, "identifier", "ann") }
	wrong := func(b *browser, v view) view { return b.post(v, "code", "no") }
	late := func(b *browser, v view) view { w.clock.Advance(time.Hour / 2); return b.post(v, "code", "000000") }
	mailDown := func(b *browser, v view) view {
		w.failMail(errors.New("down"))
		defer w.failMail(nil)
		return b.post(v, "identifier", "ann@example.com")
	}
	stranger := func(b *browser, v view) view { b.cookies = map[string]string{}; return b.open(v.URL) }
	nowhere := func(b *browser, _ view) view { return b.open("/nowhere") }
	endSession := func(b *browser, _ view) view { return b.open("/oidc/session/end") }
	ended := func(b *browser, _ view) view { return b.open("/oidc/session/end/success") }

	for name, row := range map[string]struct{ got, want []string }{
		"address en": {page("en"), []string{"title: Sign in · Portero", noticeEN, "h1: Sign in", "label: E-mail address",
			"p: We will send you a six-digit code. In the demonstration any address works.", "button: Send code", "a: Español"}},
		"address es": {page("es-419"), []string{"title: Inicia sesión · Portero", noticeES, "h1: Inicia sesión", "label: Dirección de correo electrónico",
			"p: Te enviaremos un código de seis cifras. En la demostración sirve cualquier dirección.", "button: Enviar código", "a: English"}},
		"unreadable en": {page("en", unreadable), []string{"title: Error: Sign in · Portero", noticeEN, "h1: Sign in",
			"p: Write the address like this: name@example.com", "label: E-mail address",
			"p: We will send you a six-digit code. In the demonstration any address works.", "p: Write the address like this: name@example.com", "button: Send code"}},
		"unreadable es": {page("es", unreadable), []string{"title: Error: Inicia sesión · Portero", noticeES, "h1: Inicia sesión",
			"p: Escribe la dirección así: nombre@example.com", "label: Dirección de correo electrónico",
			"p: Te enviaremos un código de seis cifras. En la demostración sirve cualquier dirección.", "p: Escribe la dirección así: nombre@example.com", "button: Enviar código"}},
		"code en": {page("en", address), []string{"title: Enter the code · Portero", noticeEN, "h1: Enter the code",
			"p: We sent it to ann@example.com. It is good for ten minutes.", "label: Six-digit code", "button: Sign in", "button: Send a new code",
			"a: Use another address", "a: Open the mailbox", "a: Español"}},
		"code es": {page("es", address), []string{"title: Escribe el código · Portero", noticeES, "h1: Escribe el código",
			"p: Lo hemos enviado a ann@example.com. Sirve durante diez minutos.", "label: Código de seis cifras", "button: Iniciar sesión", "button: Enviar otro código",
			"a: Usar otra dirección", "a: Abrir el buzón", "a: English"}},
		"wrong code en": {page("en", address, wrong), []string{"title: Error: Enter the code · Portero", noticeEN, "h1: Enter the code",
			"p: That is not the code we sent last. 9 tries left.", "p: We sent it to ann@example.com. It is good for ten minutes.", "label: Six-digit code",
			"p: That is not the code we sent last. 9 tries left.", "button: Sign in", "button: Send a new code", "a: Use another address", "a: Open the mailbox"}},
		"wrong code es": {page("es", address, wrong), []string{"title: Error: Escribe el código · Portero", noticeES, "h1: Escribe el código",
			"p: No es el último código que enviamos. Quedan 9 intentos.", "p: Lo hemos enviado a ann@example.com. Sirve durante diez minutos.", "label: Código de seis cifras",
			"p: No es el último código que enviamos. Quedan 9 intentos.", "button: Iniciar sesión", "button: Enviar otro código", "a: Usar otra dirección", "a: Abrir el buzón"}},
		"late en": {page("en", address, late)[3:5], []string{"p: This code has run out. Send a new one.", "p: We sent it to ann@example.com. It is good for ten minutes."}},
		"late es": {page("es", address, late)[3:5], []string{"p: Este código ha caducado. Pide otro.", "p: Lo hemos enviado a ann@example.com. Sirve durante diez minutos."}},
		"mail down en": {page("en", mailDown), []string{"title: The code could not be sent · Portero", noticeEN, "h1: The code could not be sent",
			"p: The e-mail service does not answer. Your address is fine; try again in a minute.", "button: Send the code again"}},
		"mail down es": {page("es", mailDown), []string{"title: No se ha podido enviar el código · Portero", noticeES, "h1: No se ha podido enviar el código",
			"p: El servicio de correo no responde. Tu dirección está bien; inténtalo de nuevo en un minuto.", "button: Enviar el código de nuevo"}},
		"unknown interaction en": {page("en", stranger), []string{"title: Signing in could not be finished · Portero", noticeEN, "h1: Signing in could not be finished",
			"p: This happens when a sign-in page stays open for long or is opened from a bookmark. Start again and you will reach the page you wanted.", "a: Start again"}},
		"unknown interaction es": {page("es", stranger), []string{"title: No se ha podido terminar el inicio de sesión · Portero", noticeES, "h1: No se ha podido terminar el inicio de sesión",
			"p: Suele pasar si la página ha estado mucho tiempo abierta o se abre desde un marcador. Empieza de nuevo y llegarás a la página que querías.", "a: Empezar de nuevo"}},
		"not found en": {page("en", nowhere), []string{"title: There is nothing at this address · Portero", noticeEN, "h1: There is nothing at this address",
			"p: Begin at the start page.", "a: Go to start"}},
		"not found es": {page("es", nowhere), []string{"title: En esta dirección no hay nada · Portero", noticeES, "h1: En esta dirección no hay nada",
			"p: Empieza por la página de inicio.", "a: Ir al inicio"}},
		"end of session en": {page("en", endSession)[2:], []string{"h1: Sign out", "p: Press the button if this page does not go on by itself.", "button: Sign out"}},
		"end of session es": {page("es", endSession)[2:], []string{"h1: Cerrar sesión", "p: Pulsa el botón si la página no continúa sola.", "button: Cerrar sesión"}},
		"ended en":          {page("en", ended)[2:], []string{"h1: You are signed out", "p: You have left the sign-in service. On a shared computer, close the browser as well."}},
		"ended es":          {page("es", ended)[2:], []string{"h1: Has cerrado sesión", "p: Has salido del servicio de inicio de sesión. Si el equipo es compartido, cierra también el navegador."}},
	} {
		if diff := cmp.Diff(row.want, row.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWaitInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		language string
		passed   time.Duration
		want     string
	}{
		{"en", 0, "Wait 10 minutes before asking for another."},
		{"en", 9*time.Minute + 59*time.Second, "Wait 1 second before asking for another."},
		{"en", 9*time.Minute + 30*time.Second, "Wait 30 seconds before asking for another."},
		{"en", 9 * time.Minute, "Wait 1 minute before asking for another."},
		{"es", 0, "Ya se han enviado varios códigos a esta dirección. Espera 10 minutos antes de pedir otro."},
		{"es", 9*time.Minute + 15*time.Second, "Espera 45 segundos antes de pedir otro."},
	} {
		w := newWorld(t, nil)
		b := w.browser()
		b.language = row.language
		v := b.open(w.authorization(nil))
		for range 10 {
			b.post(v, "identifier", "ann@example.com")
		}
		w.clock.Advance(row.passed)
		if got := b.post(v, "identifier", "ann@example.com"); !strings.Contains(got.Body, row.want) {
			t.Errorf("%s after %v: the page does not say %q", row.language, row.passed, row.want)
		}
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, row := range []struct{ locales, accept, want string }{
		{"", "", "en"},
		{"", "es", "es"},
		{"", "de, es-MX;q=0.5, en;q=0.9", "en"},
		{"", "de, es-419;q=0.9, en;q=0.5", "es"},
		{"es", "en", "es"},
		{"en", "es", "en"},
		{"de es", "en", "es"},
		{"de fr", "es", "es"},
		{"de fr", "pt", "en"},
		{"-- es", "en", "es"},
		{"", ";;;", "en"},
	} {
		b := w.browser()
		b.language = row.accept
		v := b.open(w.authorization(map[string]string{"ui_locales": row.locales}))
		if got := v.Header.Get("Content-Language"); got != row.want || !strings.Contains(v.Body, `<html lang="`+row.want+`">`) {
			t.Errorf("ui_locales %q, Accept-Language %q: got %s, want %s", row.locales, row.accept, got, row.want)
		}
		b.fill(v, "identifier", strings.ReplaceAll(row.locales+row.want, " ", "")+"@example.com")
		if got := w.lastMail().Lang; got != row.want {
			t.Errorf("ui_locales %q, Accept-Language %q: mail in %s, want %s", row.locales, row.accept, got, row.want)
		}
		w.clock.Advance(10 * time.Minute)
	}

	// The switch is a link, and what it chose stays on the next page.
	b := w.browser()
	v := b.open(w.authorization(nil))
	v = b.open(link(t, v, "Español"))
	if got := v.Header.Get("Content-Language"); got != "es" {
		t.Errorf("after the switch: got %s", got)
	}
	v = b.fill(v, "identifier", "switch@example.com")
	if got := v.Header.Get("Content-Language"); got != "es" {
		t.Errorf("code page after the switch: got %s", got)
	}
}

// link returns where the link with some words leads.
func link(t *testing.T, v view, words string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(v.Body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "a" && said(n) == words {
			base, _ := url.Parse(v.URL)
			href, _ := url.Parse(attribute(n, "href"))
			return base.ResolveReference(href).String()
		}
	}
	t.Fatalf("page has no link %q", words)
	return ""
}

func TestFieldsForPeopleAndTheirTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	const address = `type="email" name="identifier" value="" autocomplete="email" autocapitalize="none" spellcheck="false" required autofocus`
	if !strings.Contains(v.Body, address) || !strings.Contains(v.Body, `<label for="identifier">`) || strings.Contains(v.Body, "aria-invalid") || strings.Contains(v.Body, `role="alert"`) {
		t.Errorf("address page: %s", v.Body)
	}
	bad := b.post(v, "identifier", `<b>"ann`)
	if !strings.Contains(bad.Body, `aria-describedby="hint error" aria-invalid="true"`) || strings.Contains(bad.Body, "<b>") || bad.forms(t)[0].Fields.Get("identifier") != `<b>"ann` {
		t.Errorf("address page with a mistake: %s", bad.Body)
	}
	v = b.fill(v, "identifier", strings.Repeat("a", 60)+"@"+strings.Repeat("b", 40)+".example.com")
	const code = `type="text" name="code" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9\s\-]*" required autofocus`
	if !strings.Contains(v.Body, code) || strings.Contains(v.Body, "maxlength") {
		t.Errorf("code page: %s", v.Body)
	}
	if !strings.Contains(v.Body, "<bdi>"+strings.Repeat("a", 60)+"<wbr>@"+strings.Repeat("b", 18)+"…</bdi>") {
		t.Errorf("a long address is not cut at 80 characters: %s", v.Body)
	}
	if !strings.Contains(v.Body, `<a href="`+mailboxLink+`" target="_blank" rel="noopener">`) {
		t.Errorf("no link to the mailbox: %s", v.Body)
	}
	if wrong := b.post(v, "code", "123"); strings.Contains(wrong.Body, `value="123"`) {
		t.Error("the typed code stays in the field")
	}
	if back := b.open(link(t, v, "Use another address")); back.Status != 200 || !strings.HasPrefix(back.forms(t)[0].Fields.Get("identifier"), "aaa") {
		t.Errorf("another address: got %d", back.Status)
	}
}

// checkPage checks what is the same on every page: headers, policy, structure and weight.
func checkPage(t *testing.T, v view) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "Vary": "Accept-Language, Cookie",
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex",
	} {
		if got := v.Header.Get(name); got != want {
			t.Errorf("%s: got %s %q, want %q", v.URL, name, got, want)
		}
	}
	_, rest, _ := strings.Cut(v.Body, "<style>")
	sheet, _, ok := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(sheet))
	policy := v.Header.Get("Content-Security-Policy")
	if !ok || !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; img-src 'self'; ") ||
		!strings.Contains(policy, "form-action 'self'") || !strings.HasSuffix(policy, "; base-uri 'none'; frame-ancestors 'none'") {
		t.Errorf("%s: got policy %s", v.URL, policy)
	}
	if len(sheet) > 5<<10 || len(v.Body) > 12<<10 || len(v.Body) < 1<<10 {
		t.Errorf("%s: page of %d bytes with a sheet of %d", v.URL, len(v.Body), len(sheet))
	}
	for _, once := range []string{"<h1>", "<main>", "<header>", "<footer>", `<p class="notice">`} {
		if strings.Count(v.Body, once) != 1 {
			t.Errorf("%s has %d times %s", v.URL, strings.Count(v.Body, once), once)
		}
	}
	if strings.Contains(v.Body, " style=") || strings.Contains(v.Body, " onload") || strings.Contains(v.Body, "javascript:") {
		t.Errorf("%s has inline style or script", v.URL)
	}
}

func TestFormsMayLeadToTheRedirectURI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(map[string]string{"redirect_uri": "http://wiki.localhost:3000/callback"}))
	const want = "; form-action 'self' http://wiki.localhost:3000; "
	for range 2 {
		if got := v.Header.Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("%s: got policy %s", v.URL, got)
		}
		v = b.post(v, "", "")
	}
}

func TestOtherMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.browser()
	v := b.open(w.authorization(nil))
	if got := b.do("HEAD", v.URL, nil); got.Status != 200 || got.Body != "" || got.Header.Get("Content-Length") == "0" {
		t.Errorf("HEAD: got %d with %d bytes", got.Status, len(got.Body))
	}
	if got := b.do("GET", "/oidc/token", nil); got.Status == 200 {
		t.Errorf("GET of the token endpoint: got %d", got.Status)
	}
	if got := b.do("POST", "/oidc/token", url.Values{"grant_type": {strings.Repeat("x", 70<<10)}}); got.Status != 400 {
		t.Errorf("a body of 70 KiB: got %d", got.Status)
	}
	for _, path := range []string{"/", "/healthz", "/oidc/healthz", "/oidc/ready", "/oidc/auth/callback", "/oidc/keys", "/oidc/session/end/confirm", "/oidc/device_authorization"} {
		if got := b.do("GET", path, nil); got.Status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, got.Status)
		}
	}
}

func TestNoButtonsThatLeadNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *provider.Config) { c.StartURL, c.MailboxURL = "", "" })
	b := w.browser()
	if v := b.open("/nowhere"); strings.Contains(v.Body, "<a") || strings.Contains(v.Body, "<button") {
		t.Errorf("not found: %s", v.Body)
	}
	v := b.open(w.authorization(nil))
	if v = b.fill(v, "identifier", "ann@example.com"); strings.Contains(v.Body, "mailbox") {
		t.Errorf("code page: %s", v.Body)
	}
}
