package provider

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/text/language"
)

// words are what the pages say in one language. {email}, {n} and {wait} are filled in.
type words struct {
	Lang, Name string // "es", "Español"

	Notice, Mistake string

	Address, AddressLabel, AddressHint, SendCode, AddressUnreadable string

	Code, CodeLead, CodeLabel, SignIn, NewCode, OtherAddress, Mailbox string
	WrongCode, WrongCodeOnce, CodeOver, TooMany                       string

	MailUnavailable, MailUnavailableLead, SendAgain string
	NoEmail, NoEmailLead                            string
	TokenOver, TokenOverLead                        string
	Denied, DeniedLead                              string

	Unfinished, UnfinishedLead, StartAgain string
	NotFound, NotFoundLead, GoToStart      string
	SignOut, SignOutLead                   string
	SignedOut, SignedOutLead               string
	Waiting, WaitingLead, GoOn             string

	Seconds, Second, Minutes, Minute string
}

var english = words{
	Lang: "en", Name: "English",

	Notice:  "Demonstration: runs on this computer only and forgets everything when it stops.",
	Mistake: "Error: ",

	Address:           "Sign in",
	AddressLabel:      "E-mail address",
	AddressHint:       "We will send you a six-digit code. In the demonstration any address works.",
	SendCode:          "Send code",
	AddressUnreadable: "Write the address like this: name@example.com",

	Code:          "Enter the code",
	CodeLead:      "We sent it to {email}. It is good for ten minutes.",
	CodeLabel:     "Six-digit code",
	SignIn:        "Sign in",
	NewCode:       "Send a new code",
	OtherAddress:  "Use another address",
	Mailbox:       "Open the mailbox",
	WrongCode:     "That is not the code we sent last. {n} tries left.",
	WrongCodeOnce: "That is not the code we sent last. 1 try left.",
	CodeOver:      "This code has run out. Send a new one.",
	TooMany:       "Several codes have been sent to this address. Wait {wait} before asking for another.",

	MailUnavailable:     "The code could not be sent",
	MailUnavailableLead: "The e-mail service does not answer. Your address is fine; try again in a minute.",
	SendAgain:           "Send the code again",

	NoEmail:       "Signing in by e-mail is switched off",
	NoEmailLead:   "The tenant's sign-in experience has no codes by e-mail. Whoever looks after it can switch them on.",
	TokenOver:     "This link is not good any more",
	TokenOverLead: "It has been used already, or its time is over. Ask for a new one, or sign in with your address.",
	Denied:        "You have no access to this application",
	DeniedLead:    "You are signed in, but this application does not let you in. Ask whoever looks after it.",

	Unfinished:     "Signing in could not be finished",
	UnfinishedLead: "This happens when a sign-in page stays open for long or is opened from a bookmark. Start again and you will reach the page you wanted.",
	StartAgain:     "Start again",
	NotFound:       "There is nothing at this address",
	NotFoundLead:   "Begin at the start page.",
	GoToStart:      "Go to start",
	SignOut:        "Sign out",
	SignOutLead:    "Press the button if this page does not go on by itself.",
	SignedOut:      "You are signed out",
	SignedOutLead:  "You have left the sign-in service. On a shared computer, close the browser as well.",
	Waiting:        "One moment, please",
	WaitingLead:    "We are finishing your sign-in; this page goes on by itself.",
	GoOn:           "Continue",

	Seconds: "{n} seconds", Second: "1 second", Minutes: "{n} minutes", Minute: "1 minute",
}

var spanish = words{
	Lang: "es", Name: "Español",

	Notice:  "Demostración: funciona solo en este equipo y lo olvida todo al detenerse.",
	Mistake: "Error: ",

	Address:           "Inicia sesión",
	AddressLabel:      "Dirección de correo electrónico",
	AddressHint:       "Te enviaremos un código de seis cifras. En la demostración sirve cualquier dirección.",
	SendCode:          "Enviar código",
	AddressUnreadable: "Escribe la dirección así: nombre@example.com",

	Code:          "Escribe el código",
	CodeLead:      "Lo hemos enviado a {email}. Sirve durante diez minutos.",
	CodeLabel:     "Código de seis cifras",
	SignIn:        "Iniciar sesión",
	NewCode:       "Enviar otro código",
	OtherAddress:  "Usar otra dirección",
	Mailbox:       "Abrir el buzón",
	WrongCode:     "No es el último código que enviamos. Quedan {n} intentos.",
	WrongCodeOnce: "No es el último código que enviamos. Queda 1 intento.",
	CodeOver:      "Este código ha caducado. Pide otro.",
	TooMany:       "Ya se han enviado varios códigos a esta dirección. Espera {wait} antes de pedir otro.",

	MailUnavailable:     "No se ha podido enviar el código",
	MailUnavailableLead: "El servicio de correo no responde. Tu dirección está bien; inténtalo de nuevo en un minuto.",
	SendAgain:           "Enviar el código de nuevo",

	NoEmail:       "El inicio de sesión por correo está desactivado",
	NoEmailLead:   "La configuración de inicio de sesión no tiene códigos por correo. Quien se encarga de ella puede activarlos.",
	TokenOver:     "Este enlace ya no sirve",
	TokenOverLead: "Ya se ha usado o ha caducado. Pide otro o inicia sesión con tu dirección.",
	Denied:        "No tienes acceso a esta aplicación",
	DeniedLead:    "Has iniciado sesión, pero esta aplicación no te deja entrar. Pregunta a quien se encarga de ella.",

	Unfinished:     "No se ha podido terminar el inicio de sesión",
	UnfinishedLead: "Suele pasar si la página ha estado mucho tiempo abierta o se abre desde un marcador. Empieza de nuevo y llegarás a la página que querías.",
	StartAgain:     "Empezar de nuevo",
	NotFound:       "En esta dirección no hay nada",
	NotFoundLead:   "Empieza por la página de inicio.",
	GoToStart:      "Ir al inicio",
	SignOut:        "Cerrar sesión",
	SignOutLead:    "Pulsa el botón si la página no continúa sola.",
	SignedOut:      "Has cerrado sesión",
	SignedOutLead:  "Has salido del servicio de inicio de sesión. Si el equipo es compartido, cierra también el navegador.",
	Waiting:        "Un momento, por favor",
	WaitingLead:    "Estamos terminando tu inicio de sesión; la página continúa sola.",
	GoOn:           "Continuar",

	Seconds: "{n} segundos", Second: "1 segundo", Minutes: "{n} minutos", Minute: "1 minuto",
}

// wordsFor chooses the language: the locales of the request (space-separated), then Accept-Language, then English.
func wordsFor(locales string, r *http.Request) words {
	tags := make([]language.Tag, 0, 4)
	for locale := range strings.FieldsSeq(locales) {
		if tag, err := language.Parse(locale); err == nil && len(tags) < 16 {
			tags = append(tags, tag)
		}
	}
	if accepted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language")); err == nil {
		tags = append(tags, accepted...)
	}
	for _, tag := range tags {
		switch base, confidence := tag.Base(); {
		case confidence == language.No:
		case base.String() == "es":
			return spanish
		case base.String() == "en":
			return english
		}
	}
	return english
}

// other is the language a page offers beside its own.
func (w words) other() words {
	if w.Lang == "es" {
		return english
	}
	return spanish
}

// tries says how many are left.
func (w words) tries(left int) string {
	if left == 1 {
		return w.WrongCodeOnce
	}
	return strings.ReplaceAll(w.WrongCode, "{n}", fmt.Sprint(left))
}

// wait says how long to wait, never less than it takes.
func (w words) wait(d time.Duration) string {
	n, one, many := int((d+time.Second-1)/time.Second), w.Second, w.Seconds
	if n >= 60 {
		n, one, many = (n+59)/60, w.Minute, w.Minutes
	}
	said := one
	if n != 1 {
		said = strings.ReplaceAll(many, "{n}", fmt.Sprint(n))
	}
	return strings.ReplaceAll(w.TooMany, "{wait}", said)
}
