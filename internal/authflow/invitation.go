package authflow

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"time"

	"portero/internal/audit"
	"portero/internal/logto"
	"portero/internal/page"
)

// Invitation is one person's way to one page: a link that signs in without a code, once.
type Invitation struct {
	Token string // Logto's one-time token; a secret
	Email string // whose it is, in the form of identity.NormalEmail
	Host  string // of ours, without port
	To    ReturnPath
	Ends  time.Time // whole seconds
}

// maxInvitation bounds a sealed invitation in bytes of text. What Invite makes is under half of it.
const maxInvitation = 4 << 10

// ErrInvitationTooLong is returned by Invite for a page whose path and query a sign-in could not keep whole.
var ErrInvitationTooLong = errors.New("the path and query are too long to come back to after a sign-in")

// errInvitation is the cause of every link that does not open. It says no more: nothing of the link is repeated.
var errInvitation = errors.New("the link of an invitation does not open")

// Invitable reports whether a sign-in that begins now can come back to the whole of p; ErrInvitationTooLong if not.
func (f *Flow) Invitable(host string, p ReturnPath) error {
	a := newAttempt(f.now(), p, true)
	a.Guest = guestOf("")
	if _, _, ok := f.sealAttempt(host, a); !ok {
		return ErrInvitationTooLong
	}
	return nil
}

// Invite makes the link of an invitation. Only who has our secret can make one, and it opens on its host alone.
func (f *Flow) Invite(i Invitation) (link string, err error) {
	if err := f.Invitable(i.Host, i.To); err != nil {
		return "", err
	}
	plain, err := json.Marshal(invitation{Token: i.Token, Email: i.Email, Return: i.To.String(), Ends: i.Ends.Unix()})
	if err != nil {
		return "", err
	}
	sealed := f.Keys.SealText(purposeInvitation, plain, f.bind(i.Host))
	return f.originOf(i.Host) + f.Endpoints.InvitationPath() + "?" + url.Values{"i": {sealed}}.Encode(), nil
}

// Address is the address of a page of ours, as people see it.
func (f *Flow) Address(host string, p ReturnPath) string { return f.originOf(host) + p.String() }

// invitation is what a link carries, sealed. Its host is in what the seal is bound to.
type invitation struct {
	Token  string
	Email  string
	Return string // a return path
	Ends   int64  // Unix seconds
}

// openInvitation reads the query of a link. Parameters that mail programs and counters of clicks add are not looked at; a
// second `i` is: two readers could take two different ones.
func (f *Flow) openInvitation(host, rawQuery string) (*invitation, error) {
	if len(rawQuery) > 2*maxInvitation {
		return nil, errInvitation
	}
	q, err := url.ParseQuery(rawQuery)
	if err != nil || len(q["i"]) != 1 {
		return nil, errInvitation
	}
	text := q.Get("i")
	if text == "" || len(text) > maxInvitation {
		return nil, errInvitation
	}
	plain, _, err := f.Keys.OpenText(purposeInvitation, text, f.bind(host))
	if err != nil {
		return nil, errInvitation
	}
	i := &invitation{}
	if json.Unmarshal(plain, i) != nil || i.Token == "" || i.Email == "" {
		return nil, errInvitation
	}
	return i, nil
}

// guestOf is what an attempt keeps of an address: enough to know it again, and of one length.
func guestOf(email string) []byte {
	sum := sha256.Sum256([]byte(email))
	return sum[:16]
}

// errNotTheGuest is the cause where an invitation ended with the sign-in of anybody but the person who was invited.
var errNotTheGuest = errors.New("it is not the invited address that signed in; if that is who it was, Logto sends no verified email")

// present shows the one-time token to Logto, for the one address that it is good for.
func (i *invitation) present(r *logto.AuthorizationRequest) {
	r.LoginHint = i.Email
	// The token is itself the way to sign in: another first screen, or another service, would be shown instead of it.
	r.FirstScreen, r.Identifiers = "", nil
	extra := maps.Clone(r.Extra)
	if extra == nil {
		extra = map[string]string{}
	}
	delete(extra, "direct_sign_in")
	extra["one_time_token"] = i.Token
	r.Extra = extra
}

// Invitation handles GET /_portero/invitation?i=…, the link of an invitation.
//
//  1. The link must open: sealed by us, for this host, as an invitation. Else the page sign-in-failed.
//  2. Only a top-level navigation goes on, wherever it comes from, for such links stand in mails. Everything else is
//     refused as at the sign-in: prefetches and prerenders too, whose browsers then ask again when somebody does click.
//  3. Who is signed in as that address goes on to the page, as often as they like, and after the end too.
//  4. After its end: the page invitation-over, which leads to the same page by a code.
//  5. A sign-in begins that shows Logto the one-time token, asks for a person anew, and comes back to the page. The
//     callback lets nobody in by it but the invited address: Logto's page can lead to another account.
//
// It redirects, and does not ask first by a button: who clicks a link in a mail wants to be at the page. Programs that
// follow the links of a mail to look for evil do no harm by it, since no request spends the token: Logto's page does, by
// its script. Such a program that also runs scripts spends it, as it would press a button; the person then signs in with
// a code on the page of Logto's where they end.
//
// Nothing is written to a store, and no line of a log has more of the link than its path.
func (f *Flow) Invitation(w http.ResponseWriter, r *http.Request) error {
	host := hostOf(r)
	i, err := f.openInvitation(host, r.URL.RawQuery)
	if err != nil {
		return f.failedPage(r, &finish{host: host}, err)
	}
	ret := f.Endpoints.ParseReturn(i.Return)
	if kind := Classify(r, f.origin(r)); kind != Navigation {
		return f.refuse(r, kind, ret)
	}
	found, err := f.lookup(r)
	if err != nil {
		return retryHere(f.unavailable(r, ret, err))
	}
	if found.Session != nil && found.Session.Identity.Email == i.Email {
		redirect(w, ret.String(), http.StatusSeeOther)
		return nil
	}
	if f.now().Unix() >= i.Ends {
		f.record(r, audit.Event{Action: "invitation", Outcome: "over"})
		p := f.problem(r, page.InvitationOver, ret, nil)
		p.ProxyStatus = "http_request_denied"
		p.Page.Primary.URL = f.Endpoints.SignInURL(ret, found.Session != nil) // somebody else is signed in: not as them
		return p
	}
	return retryHere(f.begin(w, r, begin{ret: ret, login: true, guest: i}))
}

// retryHere lets the button of a page that says "try again" repeat the request, without writing the link into the page.
func retryHere(err error) error {
	var p *page.Problem
	if errors.As(err, &p) && (p.Page.ID == page.SignInUnavailable || p.Page.ID == page.Unavailable) {
		p.Page.Primary = &page.Action{URL: ""}
	}
	return err
}
