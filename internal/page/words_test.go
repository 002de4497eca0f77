package page_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"portero/internal/page"
)

// goldenRow is one row of the specification of the pages, section 4: the words to the
// letter, in the order heading, lead, [primary], (second). A paragraph or list item
// more is one more element of text.
type goldenRow struct {
	name      string
	page      page.Page
	lang      string
	heading   string
	text      []string
	primary   string
	secondary string
}

func golden() []goldenRow {
	p := func(id page.ID) page.Page { return page.Page{ID: id} }
	silent := page.Page{ID: page.SignedOut, ProviderSilent: true}
	down := page.Page{ID: page.AppUnavailable, SignedIn: true}
	downPost := page.Page{ID: page.AppUnavailable, SignedIn: true, AfterPost: true}
	slowPost := page.Page{ID: page.AppSlow, AfterPost: true}
	alone := page.Page{ID: page.Denied, Support: &page.Support{}}
	return []goldenRow{
		{"signed-out", p(page.SignedOut), "en", "You are signed out", []string{"You have left {app} and the sign-in service. On a shared computer, close the browser as well."}, "Sign in again", ""},
		{"signed-out", p(page.SignedOut), "es", "Has cerrado sesión", []string{"Has salido de {app} y del servicio de inicio de sesión. Si el equipo es compartido, cierra también el navegador."}, "Iniciar sesión de nuevo", ""},
		{"signed-out, sign-in service not reached", silent, "en", "You are signed out", []string{"You are signed out of {app}, but the sign-in service did not answer and may still remember you."}, "Finish signing out", ""},
		{"signed-out, sign-in service not reached", silent, "es", "Has cerrado sesión", []string{"Has cerrado sesión en {app}, pero el servicio de inicio de sesión no ha respondido y puede que aún te recuerde."}, "Terminar de cerrar sesión", ""},
		{"sign-out", p(page.SignOut), "en", "Sign out of {app}?", []string{"You are signed in as {email}. Save your work first: other tabs of this site will stop working."}, "Sign out", "Stay signed in"},
		{"sign-out", p(page.SignOut), "es", "¿Cerrar sesión en {app}?", []string{"Has iniciado sesión como {email}. Guarda antes tu trabajo: las demás pestañas de este sitio dejarán de funcionar."}, "Cerrar sesión", "Seguir con la sesión abierta"},
		{"denied", p(page.Denied), "en", "You do not have access to {app}", []string{"You are signed in as {email}, and this page is not open to that account. If you have another address, use it; otherwise ask {support}."}, "Use another account", "Back to start"},
		{"denied", p(page.Denied), "es", "No tienes acceso a {app}", []string{"Has iniciado sesión como {email} y esta página no está abierta para esa cuenta. Si tienes otra dirección, úsala; si no, consulta a {support}."}, "Usar otra cuenta", "Volver al inicio"},
		{"denied without support contact", alone, "en", "You do not have access to {app}", []string{"You are signed in as {email}, and this page is not open to that account. If you have another address, use it; otherwise ask the person who runs {app}."}, "Use another account", "Back to start"},
		{"denied without support contact", alone, "es", "No tienes acceso a {app}", []string{"Has iniciado sesión como {email} y esta página no está abierta para esa cuenta. Si tienes otra dirección, úsala; si no, consulta a quien administra {app}."}, "Usar otra cuenta", "Volver al inicio"},
		{"denied-network", p(page.DeniedNetwork), "en", "This page opens only from certain networks", []string{"Connect to the network of your organisation, for example by VPN, and try again."}, "Try again", ""},
		{"denied-network", p(page.DeniedNetwork), "es", "Esta página solo se abre desde determinadas redes", []string{"Conéctate a la red de tu organización, por ejemplo por VPN, e inténtalo de nuevo."}, "Intentar de nuevo", ""},
		{"sign-in-failed", p(page.SignInFailed), "en", "Signing in could not be finished", []string{"This happens when a sign-in page stays open for long or is opened from a bookmark. Start again and you will reach the page you wanted."}, "Start again", ""},
		{"sign-in-failed", p(page.SignInFailed), "es", "No se ha podido terminar el inicio de sesión", []string{"Suele pasar si la página ha estado mucho tiempo abierta o se abre desde un marcador. Empieza de nuevo y llegarás a la página que querías."}, "Empezar de nuevo", ""},
		{"no-cookies", p(page.NoCookies), "en", "This browser does not keep cookies for this site", []string{"{app} needs one to know that you are signed in. Allow cookies for this site and start again."}, "Start again", ""},
		{"no-cookies", p(page.NoCookies), "es", "Este navegador no guarda las cookies de este sitio", []string{"{app} necesita una para saber que has iniciado sesión. Permite las cookies de este sitio y empieza de nuevo."}, "Empezar de nuevo", ""},
		{"invitation-over", p(page.InvitationOver), "en", "This invitation has run out", []string{"Sign in with your address and a code, and you will reach the same page. If that does not work, ask the person who invited you for a new invitation."}, "Sign in", ""},
		{"invitation-over", p(page.InvitationOver), "es", "Esta invitación ha caducado", []string{"Inicia sesión con tu dirección y un código, y llegarás a la misma página. Si no funciona, pide otra invitación a quien te la envió."}, "Iniciar sesión", ""},
		{"sign-in-unavailable", p(page.SignInUnavailable), "en", "Signing in is not possible right now", []string{"The sign-in service does not answer. Wait a minute and try again; people who are signed in can go on working."}, "Try again", ""},
		{"sign-in-unavailable", p(page.SignInUnavailable), "es", "Ahora mismo no se puede iniciar sesión", []string{"El servicio de inicio de sesión no responde. Espera un minuto e inténtalo de nuevo; quienes ya tienen la sesión abierta pueden seguir trabajando."}, "Intentar de nuevo", ""},
		{"mail-unavailable", p(page.MailUnavailable), "en", "The code could not be sent", []string{"The e-mail service does not answer. Your address is fine; try again in a minute."}, "Send the code again", ""},
		{"mail-unavailable", p(page.MailUnavailable), "es", "No se ha podido enviar el código", []string{"El servicio de correo no responde. Tu dirección está bien; inténtalo de nuevo en un minuto."}, "Enviar el código de nuevo", ""},
		{"app-unavailable", down, "en", "{app} is not answering", []string{"It cannot be reached at the moment. You are still signed in."}, "Try again", ""},
		{"app-unavailable", down, "es", "{app} no responde", []string{"En este momento no está disponible. Tu sesión sigue abierta."}, "Intentar de nuevo", ""},
		{"app-unavailable, nobody signed in", p(page.AppUnavailable), "en", "{app} is not answering", []string{"It cannot be reached at the moment."}, "Try again", ""},
		{"app-unavailable, nobody signed in", p(page.AppUnavailable), "es", "{app} no responde", []string{"En este momento no está disponible."}, "Intentar de nuevo", ""},
		{"app-unavailable after a POST", downPost, "en", "{app} is not answering", []string{"It cannot be reached at the moment. You are still signed in.", "If you were sending something, it may not have arrived: check before you send it again."}, "", ""},
		{"app-unavailable after a POST", downPost, "es", "{app} no responde", []string{"En este momento no está disponible. Tu sesión sigue abierta.", "Si estabas enviando algo, puede que no haya llegado: compruébalo antes de enviarlo otra vez."}, "", ""},
		{"app-slow", p(page.AppSlow), "en", "{app} is taking too long", []string{"It has not answered within {timeout}. You can try again."}, "Try again", ""},
		{"app-slow", p(page.AppSlow), "es", "{app} tarda demasiado", []string{"No ha respondido en {timeout}. Puedes intentarlo de nuevo."}, "Intentar de nuevo", ""},
		{"app-slow after a POST", slowPost, "en", "{app} is taking too long", []string{"It has not answered within {timeout}.", "If you were sending something, it may not have arrived: check before you send it again."}, "", ""},
		{"app-slow after a POST", slowPost, "es", "{app} tarda demasiado", []string{"No ha respondido en {timeout}.", "Si estabas enviando algo, puede que no haya llegado: compruébalo antes de enviarlo otra vez."}, "", ""},
		{"unavailable", p(page.Unavailable), "en", "{app} cannot be opened right now", []string{"We cannot check your sign-in at the moment. Nothing has been lost; try again shortly."}, "Try again", ""},
		{"unavailable", p(page.Unavailable), "es", "Ahora mismo no se puede abrir {app}", []string{"No podemos comprobar tu sesión en este momento. No se ha perdido nada; inténtalo de nuevo dentro de poco."}, "Intentar de nuevo", ""},
		{"unknown-host", p(page.UnknownHost), "en", "There is nothing at this address", []string{"Check the address, or ask the person who gave it to you."}, "", ""},
		{"unknown-host", p(page.UnknownHost), "es", "En esta dirección no hay nada", []string{"Revisa la dirección o consulta a quien te la dio."}, "", ""},
		{"bad-request", p(page.BadRequest), "en", "This address cannot be opened", []string{"It has characters that are not accepted here. Check the link or begin at the start page."}, "Go to start", ""},
		{"bad-request", p(page.BadRequest), "es", "No se puede abrir esta dirección", []string{"Tiene caracteres que aquí no se aceptan. Revisa el enlace o empieza por la página de inicio."}, "Ir al inicio", ""},
		{"not-found", p(page.NotFound), "en", "There is nothing at this address", []string{"Begin at the start page."}, "Go to start", ""},
		{"not-found", p(page.NotFound), "es", "En esta dirección no hay nada", []string{"Empieza por la página de inicio."}, "Ir al inicio", ""},
		{"too-many", p(page.TooMany), "en", "Too many attempts in a short time", []string{"Wait {wait} and try again."}, "Try again", ""},
		{"too-many", p(page.TooMany), "es", "Demasiados intentos en poco tiempo", []string{"Espera {wait} e inténtalo de nuevo."}, "Intentar de nuevo", ""},
		{"form-not-sent", p(page.FormNotSent), "en", "Your form has not been sent", []string{"Your session ended before you sent it. Keep this tab:", "Sign in in a new tab.", "Come back here, reload, and confirm that the form may be sent again."}, "Sign in, new tab", ""},
		{"form-not-sent", p(page.FormNotSent), "es", "El formulario no se ha enviado", []string{"La sesión terminó antes de enviarlo. No cierres esta pestaña:", "Inicia sesión en otra pestaña.", "Vuelve aquí, recarga la página y confirma que se envíe otra vez."}, "Iniciar sesión en otra pestaña", ""},
		{"signed-in", p(page.SignedIn), "en", "You are signed in", []string{"You can close this tab and go back to the other one."}, "", ""},
		{"signed-in", p(page.SignedIn), "es", "Ya has iniciado sesión", []string{"Puedes cerrar esta pestaña y volver a la otra."}, "", ""},
		{"framed", p(page.Framed), "en", "Sign in to see this part", []string{"Your session has ended."}, "Sign in", ""},
		{"framed", p(page.Framed), "es", "Inicia sesión para ver esta parte", []string{"Tu sesión ha terminado."}, "Iniciar sesión", ""},
		{"waiting", p(page.Waiting), "en", "One moment, please", []string{"We are finishing your sign-in; this page goes on by itself."}, "Continue", ""},
		{"waiting", p(page.Waiting), "es", "Un momento, por favor", []string{"Estamos terminando tu inicio de sesión; la página continúa sola."}, "Continuar", ""},
		{"step-up", p(page.StepUp), "en", "Confirm that it is you", []string{"This part of {app} asks for a sign-in within the last {max_age}. You will get a new code at {email} and then continue here."}, "Continue", "Go back"},
		{"step-up", p(page.StepUp), "es", "Confirma que eres tú", []string{"Esta parte de {app} pide un inicio de sesión en los últimos {max_age}. Recibirás un código nuevo en {email} y después continuarás aquí."}, "Continuar", "Volver"},
		{"account, signed out", p(page.AccountPage), "en", "You are not signed in", nil, "Sign in", ""},
		{"account, signed out", p(page.AccountPage), "es", "No has iniciado sesión", nil, "Iniciar sesión", ""},
	}
}

func TestWordsAreThoseOfTheSpecification(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Support: page.Support{Name: "Help desk", Email: "help@example.com"}})
	fill := map[string]*strings.Replacer{
		"en": strings.NewReplacer("{app}", "Wiki", "{email}", "ana@example.com", "{support}", "Help desk", "{timeout}", "30 seconds", "{wait}", "3 minutes", "{max_age}", "15 minutes"),
		"es": strings.NewReplacer("{app}", "Wiki", "{email}", "ana@example.com", "{support}", "Help desk", "{timeout}", "30 segundos", "{wait}", "3 minutos", "{max_age}", "15 minutos"),
	}
	seen := map[page.ID]bool{}
	for _, row := range golden() {
		seen[row.page.ID] = true
		t.Run(row.name+" "+row.lang, func(t *testing.T) {
			t.Parallel()
			p := row.page
			p.App, p.Email, p.Code, p.Time = "Wiki", "ana@example.com", "7K3F-Q9XM", now()
			p.Timeout, p.Wait, p.MaxAge = 30*time.Second, 3*time.Minute, 15*time.Minute
			p.Primary, p.Secondary = &page.Action{URL: "/a"}, &page.Action{URL: "/b"}
			doc := parse(t, render(set, request(row.lang), p).Body.Bytes())
			main := one(t, doc, "main")
			if got, want := text(one(t, main, "h1")), fill[row.lang].Replace(row.heading); got != want {
				t.Errorf("heading\n got %q\nwant %q", got, want)
			}
			var got []string
			for _, n := range all(main, func(n *html.Node) bool { return tag("p", "li")(n) && !hasClass(n, "support") }) {
				got = append(got, text(n))
			}
			want := fill[row.lang].Replace(strings.Join(row.text, "\n"))
			if strings.Join(got, "\n") != want {
				t.Errorf("text\n got %q\nwant %q", strings.Join(got, "\n"), want)
			}
			var labels []string
			for _, n := range all(main, func(n *html.Node) bool { return n.Data == "button" || hasClass(n, "button") }) {
				labels = append(labels, text(n))
			}
			wantLabels := strings.TrimSuffix(row.primary+"|"+row.secondary, "|")
			if strings.Join(labels, "|") != wantLabels {
				t.Errorf("buttons\n got %q\nwant %q", strings.Join(labels, "|"), wantLabels)
			}
		})
	}
	for _, s := range set.Samples("en") {
		if !seen[s.Page.ID] {
			t.Errorf("page %s is not in the table", s.Page.ID)
		}
	}
}

func TestWordsOfTheOwnPage(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Name: "Wiki"})
	account := func(lang string, notice int) page.Page {
		return page.Page{ID: page.AccountPage, Account: &page.Account{
			Email: "ana@example.com", Notice: notice, SignOutURL: "/sign-out", EndURL: "/_portero/sessions/end",
			Sessions: []page.AccountSession{
				{ID: "phone", Device: set.Device("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1", lang), SignedIn: now().Add(-time.Hour), LastUsed: now().Add(-time.Minute)},
				{ID: "here", Device: set.Device("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", lang), SignedIn: now().Add(-49 * time.Hour), LastUsed: now().Add(-3 * time.Hour), This: true},
				{ID: "old", Device: "", SignedIn: now().Add(-8 * 24 * time.Hour), LastUsed: now().Add(-7 * 24 * time.Hour)},
			},
			Learned: []page.LearnedItem{{Label: "email", Value: "ana@example.com"}, {Label: "X-Forwarded-User", Value: "u1"}, {Label: "name"}},
		}}
	}
	for _, c := range []struct {
		lang   string
		notice int
		want   []string
	}{
		{"en", 2, []string{
			"2 sessions ended.", "Signed in as ana@example.com", "Sign out", "Where you are signed in",
			"Firefox on Linux This device Signed in 2 days ago, last used 3 hours ago End",
			"Safari on iPhone Signed in 1 hour ago, last used 1 minute ago End",
			"Unknown browser Signed in on 14 Nov 2026, last used 7 days ago End",
			"Sign out everywhere else", "What applications learn about you",
			"E-mail address", "ana@example.com", "X-Forwarded-User", "u1",
		}},
		{"es", 2, []string{
			"Se han cerrado 2 sesiones.", "Has iniciado sesión como ana@example.com", "Cerrar sesión", "Dónde tienes la sesión abierta",
			"Firefox en Linux Este dispositivo Sesión iniciada hace 2 días, último uso hace 3 horas Cerrar",
			"Safari en iPhone Sesión iniciada hace 1 hora, último uso hace 1 minuto Cerrar",
			"Navegador desconocido Sesión iniciada el 14 nov 2026, último uso hace 7 días Cerrar",
			"Cerrar las demás sesiones", "Qué saben de ti las aplicaciones",
			"Dirección de correo electrónico", "ana@example.com", "X-Forwarded-User", "u1",
		}},
	} {
		doc := parse(t, render(set, request(c.lang), account(c.lang, c.notice)).Body.Bytes())
		main := one(t, doc, "main")
		var got []string
		for _, n := range all(main, func(n *html.Node) bool {
			return tag("h1", "h2", "li", "dt", "dd")(n) || hasClass(n, "note") || n.Data == "button" && n.Parent.Parent.Data != "li"
		}) {
			got = append(got, text(n))
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s\n got %q\nwant %q", c.lang, got, c.want)
		}
	}
	for lang, want := range map[string]string{"en": "1 session ended.", "es": "Se ha cerrado 1 sesión."} {
		body := render(set, request(lang), account(lang, 1)).Body.String()
		if !strings.Contains(body, `<p class="note" role="status">`+want+`</p>`) {
			t.Errorf("%s: no notice %q", lang, want)
		}
		if body := render(set, request(lang), account(lang, 0)).Body.String(); strings.Contains(body, `role="status"`) {
			t.Errorf("%s: a notice although nothing was ended", lang)
		}
	}
	doc := parse(t, render(set, request("es"), account("es", 0)).Body.Bytes())
	ends := all(doc, func(n *html.Node) bool { return n.Data == "button" && attr(n, "aria-label") != "" })
	if len(ends) != 3 || attr(ends[0], "aria-label") != "Cerrar la sesión de Firefox en Linux" {
		t.Errorf("buttons that end a session: %d, want 3, the first named after its device", len(ends))
	}
	if got := render(set, request("en"), account("en", 0)).Body.String(); !strings.Contains(got, `aria-label="End the session of Firefox on Linux"`) {
		t.Error("the button has no accessible name")
	}
}

func TestOneSessionHasNoButtonForTheOthers(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{})
	body := render(set, request("en"), page.Page{ID: page.AccountPage, Account: &page.Account{
		Email: "ana@example.com", SignOutURL: "/sign-out", EndURL: "/end",
		Sessions: []page.AccountSession{{ID: "a", Device: "Edge on Windows", SignedIn: now(), LastUsed: now().Add(time.Hour), This: true}},
	}}).Body.String()
	if strings.Contains(body, "everywhere else") || strings.Contains(body, "What applications") {
		t.Error("a part without content is shown")
	}
	if !strings.Contains(body, ">just now</time>, last used <time") {
		t.Error("a session of this moment, or of a clock that is ahead, is not just now")
	}
}

func TestWordsThatEveryPageShares(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Name: "Wiki", Demo: true, Support: page.Support{Email: "help@example.com"}})
	for lang, want := range map[string][]string{
		"en": {"Demonstration: runs on this computer only and forgets everything when it stops.", "Code for support: 7K3F-Q9XM · 22 Nov 2026, 07:40 UTC", "Signed in as ana@example.com", "Español"},
		"es": {"Demostración: funciona solo en este equipo y lo olvida todo al detenerse.", "Código para soporte: 7K3F-Q9XM · 22 nov 2026, 07:40 UTC", "Has iniciado sesión como ana@example.com", "English"},
	} {
		doc := parse(t, render(set, request(lang), page.Page{ID: page.SignInFailed, Code: "7K3F-Q9XM", Time: now(), User: "ana@example.com", LanguageReturn: "/x?y=1&z=2"}).Body.Bytes())
		whole := text(one(t, doc, "body"))
		if !strings.HasPrefix(whole, want[0]) {
			t.Errorf("%s: the page does not begin with the notice of the demonstration: %q", lang, whole)
		}
		for _, w := range want {
			if !strings.Contains(whole, w) {
				t.Errorf("%s: no %q in %q", lang, w, whole)
			}
		}
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, agent, en, es string }{
		{"Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux", "Firefox en Linux"},
		{"Safari on a phone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1", "Safari on iPhone", "Safari en iPhone"},
		{"Edge says Chrome and Safari too", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0", "Edge on Windows", "Edge en Windows"},
		{"Chrome on Android says Linux too", "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36", "Chrome on Android", "Chrome en Android"},
		{"Chrome on an iPad", "Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0 Mobile/15E148 Safari/604.1", "Chrome on iPad", "Chrome en iPad"},
		{"Firefox on a phone", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPhone", "Firefox en iPhone"},
		{"Safari on a Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15", "Safari on Mac", "Safari en Mac"},
		{"browser without a system", "Firefox/140.0", "Firefox", "Firefox"},
		{"script", "curl/8.11.0", "Unknown browser", "Navegador desconocido"},
		{"nothing", "", "Unknown browser", "Navegador desconocido"},
		{"hostile", strings.Repeat("<script>", 5000) + "Firefox/1", "Unknown browser", "Navegador desconocido"},
	} {
		if got := page.Device(c.agent, "en"); got != c.en {
			t.Errorf("%s: got %q, want %q", c.name, got, c.en)
		}
		if got := page.Device(c.agent, "es"); got != c.es {
			t.Errorf("%s: got %q, want %q", c.name, got, c.es)
		}
	}
}

func TestDurationsInWords(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Name: "Wiki"})
	for _, c := range []struct {
		wait       time.Duration
		en, es     string
		retryAfter string
	}{
		{0, "1 second", "1 segundo", "1"},
		{1500 * time.Millisecond, "2 seconds", "2 segundos", "2"},
		{60 * time.Second, "1 minute", "1 minuto", "60"},
		{90 * time.Second, "90 seconds", "90 segundos", "90"},
		{119500 * time.Millisecond, "2 minutes", "2 minutos", "120"},
		{150 * time.Second, "3 minutes", "3 minutos", "180"},
		{time.Hour, "1 hour", "1 hora", "3600"},
		{125 * time.Minute, "3 hours", "3 horas", "10800"},
		{49 * time.Hour, "3 days", "3 días", "259200"},
	} {
		for lang, want := range map[string]string{"en": "Wait " + c.en + " and try again.", "es": "Espera " + c.es + " e inténtalo de nuevo."} {
			w := render(set, request(lang), page.Page{ID: page.TooMany, Wait: c.wait})
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("%v %s: no %q", c.wait, lang, want)
			}
			if got := w.Header().Get("Retry-After"); got != c.retryAfter {
				t.Errorf("%v: Retry-After %q, want %q, what the page says", c.wait, got, c.retryAfter)
			}
		}
	}
	for _, c := range []struct {
		age    time.Duration
		en, es string
	}{
		{time.Minute, "within the last 60 seconds.", "en los últimos 60 segundos."},
		{time.Hour, "within the last 60 minutes.", "en los últimos 60 minutos."},
		{8 * time.Hour, "within the last 8 hours.", "en las últimas 8 horas."},
		{72 * time.Hour, "within the last 3 days.", "en los últimos 3 días."},
	} {
		for lang, want := range map[string]string{"en": c.en, "es": c.es} {
			if body := render(set, request(lang), page.Page{ID: page.StepUp, MaxAge: c.age}).Body.String(); !strings.Contains(body, want) {
				t.Errorf("%v %s: no %q", c.age, lang, want)
			}
		}
	}
}
