package page

import (
	"fmt"
	"net/http"
	"time"
)

// ID names a page, in templates, tests and `pages.texts`. With "_" for "-" it is
// the stable member "error" of the JSON form.
type ID string

// The pages, in the order in which WriteAll lists them.
const (
	SignedOut         ID = "signed-out"
	SignOut           ID = "sign-out"
	Denied            ID = "denied"
	DeniedNetwork     ID = "denied-network"
	SignInFailed      ID = "sign-in-failed"
	NoCookies         ID = "no-cookies"
	InvitationOver    ID = "invitation-over"
	SignInUnavailable ID = "sign-in-unavailable"
	MailUnavailable   ID = "mail-unavailable"
	AppUnavailable    ID = "app-unavailable"
	AppSlow           ID = "app-slow"
	Unavailable       ID = "unavailable"
	UnknownHost       ID = "unknown-host"
	BadRequest        ID = "bad-request"
	NotFound          ID = "not-found"
	TooMany           ID = "too-many"
	FormNotSent       ID = "form-not-sent"
	SignedIn          ID = "signed-in"
	Framed            ID = "framed"
	Waiting           ID = "waiting"
	StepUp            ID = "step-up"
	AccountPage       ID = "account"

	// SignInRequired is the 401 for everything that is no navigation: scripts, images,
	// prefetches. People do not see it; as HTML it has the words of the own page when
	// signed out.
	SignInRequired ID = "sign-in-required"
)

// Page is one answer to be rendered. The zero value of each field is the case
// without the thing; the zero Page has no ID and renders as unavailable.
type Page struct {
	ID     ID
	Status int // 0: the page's own

	// App is {app}, the title of the route. Empty: Config.Name, else the host that
	// the request names. A caller with no title leaves it empty.
	App string
	// Email is {email}: whose session this is, as far as it is known.
	Email string
	// Support replaces Config.Support, for the route. nil: Config.Support.
	Support *Support

	// Primary and Secondary are where the page's buttons lead; their words belong to
	// the page. nil: no such button, save that not-found and bad-request lead to
	// Config.HomeURL.
	Primary, Secondary *Action

	// Code is the support code and Time the moment it stands for. Empty: no support
	// line. Only pages that report trouble show it.
	Code string
	Time time.Time // zero: now

	Wait       time.Duration // {wait} of too-many, which is also its Retry-After
	Timeout    time.Duration // {timeout} of app-slow
	MaxAge     time.Duration // {max_age} of step-up
	RetryAfter time.Duration // 0: the page's own, most have none

	AfterPost      bool // the request may have changed something: no button repeats it
	SignedIn       bool // app-unavailable may say that the session is untouched
	ProviderSilent bool // signed-out: the sign-in service was not reached

	SignInURL      string   // where a 401 in JSON sends its reader. Empty: not said
	LanguageReturn string   // where the language switch comes back to. Empty: no switch
	User           string   // footer: who is signed in. Empty: nobody
	Account        *Account // own page. nil: its signed-out form

	// Unbranded shows nothing that was configured: no name, logo, contact, link or
	// colour. unknown-host sets it by itself; a caller sets it for a page that a
	// stranger may get on a host that is not ours.
	Unbranded bool
}

// Action is where a button leads.
type Action struct {
	URL    string
	Post   bool    // a form that posts; else a link
	Fields []Field // hidden fields of the form
}

// Field is a hidden field of a form.
type Field struct{ Name, Value string }

// Support is whom people can ask. The zero value is nobody.
type Support struct {
	Name  string // what people call them: "Help desk"
	Email string
	URL   string // http or https
	Phone string // as it is written where the people are; digits, spaces, + - ( )
}

// Problem is an error that has a page. The person reads the page, the log has the cause.
type Problem struct {
	Page        Page
	ProxyStatus string      // error token of RFC 9209 section 2.3. Empty: none
	Cause       error       // for the log alone. nil: the page says it all
	Header      http.Header // goes out with the page: Allow, WWW-Authenticate. nil: nothing
}

// Error is for the log.
func (p *Problem) Error() string {
	if p.Cause == nil {
		return fmt.Sprintf("answering with page %s", p.Page.ID)
	}
	return fmt.Sprintf("answering with page %s: %v", p.Page.ID, p.Cause)
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Handler is an http.Handler that leaves it to its caller to answer an error. An
// error is returned only while nothing has been written.
type Handler func(w http.ResponseWriter, r *http.Request) error
