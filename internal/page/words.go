package page

import (
	"net/http"
	"time"
)

// words are the sentences of one page in one language. Braces hold placeholders.
// The first four are the parts that `pages.texts` may replace.
type words struct {
	heading, lead, primary, secondary string

	signedIn  string   // joins the lead when Page.SignedIn
	again     string   // joins the lead unless Page.AfterPost
	afterPost string   // stands in place of the buttons when Page.AfterPost
	silent    string   // is the lead when Page.ProviderSilent
	finish    string   // is the primary button when Page.ProviderSilent
	hours     string   // is the lead when {max_age} is counted in hours
	steps     []string // a numbered list after the lead
}

// kind is what is fixed about a page, whatever the language.
type kind struct {
	id     ID
	status int
	retry  time.Duration // Retry-After. 0: none

	trouble   bool   // has a support line, when the caller gives a code
	framed    bool   // may be shown in a frame of our own site
	unbranded bool   // shows nothing that was configured
	home      bool   // its button leads to the start page unless the caller says otherwise
	noHost    bool   // never shows the host of the request
	wide      bool   // the wide column
	referrer  bool   // same-origin instead of no-referrer: its forms need an Origin
	target    string // target of the primary link
	fills     string // the placeholders that have a value here, beside {app} and {support}

	en, es words
}

// kinds are all pages, in the order of the specification. The words are fixed to the
// letter; the sentences that make a promise about safety cannot be replaced.
func kinds() []kind {
	const sentEN = "If you were sending something, it may not have arrived: check before you send it again."
	const sentES = "Si estabas enviando algo, puede que no haya llegado: compruébalo antes de enviarlo otra vez."
	return []kind{
		{id: SignedOut, status: http.StatusOK,
			en: words{
				heading: "You are signed out.",
				lead:    "You have left {app} and the sign-in service. On a shared computer, close the browser as well.",
				primary: "Sign in again",
				silent:  "You are signed out of {app}, but the sign-in service did not answer and may still remember you.",
				finish:  "Finish signing out",
			},
			es: words{
				heading: "Has cerrado sesión.",
				lead:    "Has salido de {app} y del servicio de inicio de sesión. Si el equipo es compartido, cierra también el navegador.",
				primary: "Iniciar sesión de nuevo",
				silent:  "Has cerrado sesión en {app}, pero el servicio de inicio de sesión no ha respondido y puede que aún te recuerde.",
				finish:  "Terminar de cerrar sesión",
			}},
		{id: SignOut, status: http.StatusOK, referrer: true, fills: "email",
			en: words{
				heading:   "Sign out of {app}?",
				lead:      "You are signed in as {email}. Save your work first: other tabs of this site will stop working.",
				primary:   "Sign out",
				secondary: "Stay signed in",
			},
			es: words{
				heading:   "¿Cerrar sesión en {app}?",
				lead:      "Has iniciado sesión como {email}. Guarda antes tu trabajo: las demás pestañas de este sitio dejarán de funcionar.",
				primary:   "Cerrar sesión",
				secondary: "Seguir con la sesión abierta",
			}},
		{id: Denied, status: http.StatusForbidden, trouble: true, fills: "email",
			en: words{
				heading:   "You do not have access to {app}.",
				lead:      "You are signed in as {email}, and this page is not open to that account. If you have another address, use it; otherwise ask {support}.",
				primary:   "Use another account",
				secondary: "Back to start",
			},
			es: words{
				heading:   "No tienes acceso a {app}.",
				lead:      "Has iniciado sesión como {email} y esta página no está abierta para esa cuenta. Si tienes otra dirección, úsala; si no, consulta a {support}.",
				primary:   "Usar otra cuenta",
				secondary: "Volver al inicio",
			}},
		{id: DeniedNetwork, status: http.StatusForbidden, trouble: true, fills: "email",
			en: words{
				heading: "This page opens only from certain networks.",
				lead:    "Connect to the network of your organisation, for example by VPN, and try again.",
				primary: "Try again",
			},
			es: words{
				heading: "Esta página solo se abre desde determinadas redes.",
				lead:    "Conéctate a la red de tu organización, por ejemplo por VPN, e inténtalo de nuevo.",
				primary: "Intentar de nuevo",
			}},
		{id: SignInFailed, status: http.StatusBadRequest, trouble: true,
			en: words{
				heading: "Signing in could not be finished.",
				lead:    "This happens when a sign-in page stays open for long or is opened from a bookmark. Start again and you will reach the page you wanted.",
				primary: "Start again",
			},
			es: words{
				heading: "No se ha podido terminar el inicio de sesión.",
				lead:    "Suele pasar si la página ha estado mucho tiempo abierta o se abre desde un marcador. Empieza de nuevo y llegarás a la página que querías.",
				primary: "Empezar de nuevo",
			}},
		{id: NoCookies, status: http.StatusBadRequest, trouble: true,
			en: words{
				heading: "This browser does not keep cookies for this site.",
				lead:    "{app} needs one to know that you are signed in. Allow cookies for this site and start again.",
				primary: "Start again",
			},
			es: words{
				heading: "Este navegador no guarda las cookies de este sitio.",
				lead:    "{app} necesita una para saber que has iniciado sesión. Permite las cookies de este sitio y empieza de nuevo.",
				primary: "Empezar de nuevo",
			}},
		{id: InvitationOver, status: http.StatusGone, trouble: true,
			en: words{
				heading: "This invitation has run out.",
				lead:    "Sign in with your address and a code, and you will reach the same page. If that does not work, ask the person who invited you for a new invitation.",
				primary: "Sign in",
			},
			es: words{
				heading: "Esta invitación ha caducado.",
				lead:    "Inicia sesión con tu dirección y un código, y llegarás a la misma página. Si no funciona, pide otra invitación a quien te la envió.",
				primary: "Iniciar sesión",
			}},
		{id: SignInUnavailable, status: http.StatusServiceUnavailable, trouble: true, retry: 30 * time.Second,
			en: words{
				heading: "Signing in is not possible right now.",
				lead:    "The sign-in service does not answer. Wait a minute and try again; people who are signed in can go on working.",
				primary: "Try again",
			},
			es: words{
				heading: "Ahora mismo no se puede iniciar sesión.",
				lead:    "El servicio de inicio de sesión no responde. Espera un minuto e inténtalo de nuevo; quienes ya tienen la sesión abierta pueden seguir trabajando.",
				primary: "Intentar de nuevo",
			}},
		{id: MailUnavailable, status: http.StatusServiceUnavailable, trouble: true,
			en: words{
				heading: "The code could not be sent.",
				lead:    "The e-mail service does not answer. Your address is fine; try again in a minute.",
				primary: "Send the code again",
			},
			es: words{
				heading: "No se ha podido enviar el código.",
				lead:    "El servicio de correo no responde. Tu dirección está bien; inténtalo de nuevo en un minuto.",
				primary: "Enviar el código de nuevo",
			}},
		{id: AppUnavailable, status: http.StatusBadGateway, trouble: true,
			en: words{
				heading:   "{app} is not answering.",
				lead:      "It cannot be reached at the moment.",
				signedIn:  "You are still signed in.",
				primary:   "Try again",
				afterPost: sentEN,
			},
			es: words{
				heading:   "{app} no responde.",
				lead:      "En este momento no está disponible.",
				signedIn:  "Tu sesión sigue abierta.",
				primary:   "Intentar de nuevo",
				afterPost: sentES,
			}},
		{id: AppSlow, status: http.StatusGatewayTimeout, trouble: true, fills: "timeout",
			en: words{
				heading:   "{app} is taking too long.",
				lead:      "It has not answered within {timeout}.",
				again:     "You can try again.",
				primary:   "Try again",
				afterPost: sentEN,
			},
			es: words{
				heading:   "{app} tarda demasiado.",
				lead:      "No ha respondido en {timeout}.",
				again:     "Puedes intentarlo de nuevo.",
				primary:   "Intentar de nuevo",
				afterPost: sentES,
			}},
		{id: Unavailable, status: http.StatusServiceUnavailable, trouble: true, retry: 5 * time.Second,
			en: words{
				heading: "{app} cannot be opened right now.",
				lead:    "We cannot check your sign-in at the moment. Nothing has been lost; try again shortly.",
				primary: "Try again",
			},
			es: words{
				heading: "Ahora mismo no se puede abrir {app}.",
				lead:    "No podemos comprobar tu sesión en este momento. No se ha perdido nada; inténtalo de nuevo dentro de poco.",
				primary: "Intentar de nuevo",
			}},
		{id: UnknownHost, status: http.StatusMisdirectedRequest, unbranded: true, noHost: true,
			en: words{
				heading: "There is nothing at this address.",
				lead:    "Check the address, or ask the person who gave it to you.",
			},
			es: words{
				heading: "En esta dirección no hay nada.",
				lead:    "Revisa la dirección o consulta a quien te la dio.",
			}},
		{id: BadRequest, status: http.StatusBadRequest, trouble: true, home: true, noHost: true,
			en: words{
				heading: "This address cannot be opened.",
				lead:    "It has characters that are not accepted here. Check the link or begin at the start page.",
				primary: "Go to start",
			},
			es: words{
				heading: "No se puede abrir esta dirección.",
				lead:    "Tiene caracteres que aquí no se aceptan. Revisa el enlace o empieza por la página de inicio.",
				primary: "Ir al inicio",
			}},
		{id: NotFound, status: http.StatusNotFound, trouble: true, home: true,
			en: words{
				heading: "There is nothing at this address.",
				lead:    "Begin at the start page.",
				primary: "Go to start",
			},
			es: words{
				heading: "En esta dirección no hay nada.",
				lead:    "Empieza por la página de inicio.",
				primary: "Ir al inicio",
			}},
		{id: TooMany, status: http.StatusTooManyRequests, trouble: true, fills: "wait",
			en: words{
				heading: "Too many attempts in a short time.",
				lead:    "Wait {wait} and try again.",
				primary: "Try again",
			},
			es: words{
				heading: "Demasiados intentos en poco tiempo.",
				lead:    "Espera {wait} e inténtalo de nuevo.",
				primary: "Intentar de nuevo",
			}},
		{id: FormNotSent, status: http.StatusUnauthorized, trouble: true, target: "_blank",
			en: words{
				heading: "Your form has not been sent.",
				lead:    "Your session ended before you sent it. Keep this tab:",
				steps:   []string{"Sign in in a new tab.", "Come back here, reload, and confirm that the form may be sent again."},
				primary: "Sign in, new tab",
			},
			es: words{
				heading: "El formulario no se ha enviado.",
				lead:    "La sesión terminó antes de enviarlo. No cierres esta pestaña:",
				steps:   []string{"Inicia sesión en otra pestaña.", "Vuelve aquí, recarga la página y confirma que se envíe otra vez."},
				primary: "Iniciar sesión en otra pestaña",
			}},
		{id: SignedIn, status: http.StatusOK,
			en: words{
				heading: "You are signed in.",
				lead:    "You can close this tab and go back to the other one.",
			},
			es: words{
				heading: "Ya has iniciado sesión.",
				lead:    "Puedes cerrar esta pestaña y volver a la otra.",
			}},
		{id: Framed, status: http.StatusUnauthorized, framed: true, target: "_top",
			en: words{
				heading: "Sign in to see this part.",
				lead:    "Your session has ended.",
				primary: "Sign in",
			},
			es: words{
				heading: "Inicia sesión para ver esta parte.",
				lead:    "Tu sesión ha terminado.",
				primary: "Iniciar sesión",
			}},
		{id: Waiting, status: http.StatusOK,
			en: words{
				heading: "One moment, please.",
				lead:    "We are finishing your sign-in; this page goes on by itself.",
				primary: "Continue",
			},
			es: words{
				heading: "Un momento, por favor.",
				lead:    "Estamos terminando tu inicio de sesión; la página continúa sola.",
				primary: "Continuar",
			}},
		{id: StepUp, status: http.StatusUnauthorized, fills: "email max_age",
			en: words{
				heading:   "Confirm that it is you.",
				lead:      "This part of {app} asks for a sign-in within the last {max_age}. You will get a new code at {email} and then continue here.",
				primary:   "Continue",
				secondary: "Go back",
			},
			es: words{
				heading: "Confirma que eres tú.",
				lead:    "Esta parte de {app} pide un inicio de sesión en los últimos {max_age}. Recibirás un código nuevo en {email} y después continuarás aquí.",
				// Hours are feminine.
				hours:     "Esta parte de {app} pide un inicio de sesión en las últimas {max_age}. Recibirás un código nuevo en {email} y después continuarás aquí.",
				primary:   "Continuar",
				secondary: "Volver",
			}},
		{id: AccountPage, status: http.StatusOK, wide: true, referrer: true, fills: "email",
			en: words{heading: "Signed in as {email}", primary: "Sign out", secondary: "Sign out everywhere else"},
			es: words{heading: "Has iniciado sesión como {email}", primary: "Cerrar sesión", secondary: "Cerrar las demás sesiones"}},
		{id: SignInRequired, status: http.StatusUnauthorized,
			en: words{heading: "You are not signed in", primary: "Sign in"},
			es: words{heading: "No has iniciado sesión", primary: "Iniciar sesión"}},
	}
}

// common are the words that pages share, in one language.
type common struct {
	tag, name string // the language itself: "es", "Español"

	demo        string
	code        string // before the support code
	signedInAs  string // footer
	askFor      string // {support} when there is no contact
	thisSite    string // {app} when nothing has a name
	noAddress   string // {email} when there is no address
	yourAddress string // the same, where a code is sent to it

	months   [12]string
	date     string // fmt: day, month, year
	justNow  string
	ago, on  string // fmt, around a duration or a date
	thousand string
	units    [4][2]string // second, minute, hour, day: singular, plural

	sessions, learned string // headings of the own page
	thisDevice        string
	used              string // {in} and {last}
	more              string // sessions that are not shown; fmt: count
	end, endLabel     string // endLabel is the accessible name; fmt: device
	ended, endedMany  string // notice; the second with fmt: count
	unknownBrowser    string
	browserOn         string            // fmt: browser, system
	labels            map[string]string // :: key of a learned item → label
}

func commons() map[string]*common {
	return map[string]*common{
		"en": {
			tag: "en", name: "English",
			demo:        "Demonstration: runs on this computer only and forgets everything when it stops.",
			code:        "Code for support:",
			signedInAs:  "Signed in as {email}",
			askFor:      "the person who runs {app}",
			thisSite:    "this site",
			noAddress:   "an account without an address",
			yourAddress: "your address",
			months:      [12]string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"},
			date:        "%d %s %d",
			justNow:     "just now",
			ago:         "%s ago",
			on:          "on %s",
			thousand:    ",",
			units:       [4][2]string{{"second", "seconds"}, {"minute", "minutes"}, {"hour", "hours"}, {"day", "days"}},
			sessions:    "Where you are signed in",
			learned:     "What applications learn about you",
			thisDevice:  "This device",
			used:        "Signed in {in}, last used {last}",
			more:        "And %s more, used longer ago.",
			end:         "End",
			endLabel:    "End the session of %s",
			ended:       "1 session ended.", endedMany: "%s sessions ended.",
			unknownBrowser: "Unknown browser",
			browserOn:      "%s on %s",
			labels: map[string]string{
				"subject": "Identifier", "email": "E-mail address", "name": "Name", "username": "User name",
				"roles": "Roles", "organizations": "Organisations",
			},
		},
		"es": {
			tag: "es", name: "Español",
			demo:        "Demostración: funciona solo en este equipo y lo olvida todo al detenerse.",
			code:        "Código para soporte:",
			signedInAs:  "Has iniciado sesión como {email}",
			askFor:      "quien administra {app}",
			thisSite:    "este sitio",
			noAddress:   "una cuenta sin dirección",
			yourAddress: "tu dirección",
			months:      [12]string{"ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"},
			date:        "%d %s %d",
			justNow:     "hace un momento",
			ago:         "hace %s",
			on:          "el %s",
			thousand:    "\u202f", // thin, and never at the end of a line
			units:       [4][2]string{{"segundo", "segundos"}, {"minuto", "minutos"}, {"hora", "horas"}, {"día", "días"}},
			sessions:    "Dónde tienes la sesión abierta",
			learned:     "Qué saben de ti las aplicaciones",
			thisDevice:  "Este dispositivo",
			used:        "Sesión iniciada {in}, último uso {last}",
			more:        "Y %s más, con un uso menos reciente.",
			end:         "Cerrar",
			endLabel:    "Cerrar la sesión de %s",
			ended:       "Se ha cerrado 1 sesión.", endedMany: "Se han cerrado %s sesiones.",
			unknownBrowser: "Navegador desconocido",
			browserOn:      "%s en %s",
			labels: map[string]string{
				"subject": "Identificador", "email": "Dirección de correo electrónico", "name": "Nombre", "username": "Nombre de usuario",
				"roles": "Roles", "organizations": "Organizaciones",
			},
		},
	}
}
