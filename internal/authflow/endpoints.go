package authflow

import (
	"net/url"
	"strings"
)

// Endpoints are the paths Portero answers by itself.
type Endpoints struct {
	SignIn, Callback, SignOut string // root forms; "" switches that root form off
	Prefix                    string // everything of ours also answers under it; default /_portero
	Aliases                   string // the prefix of the endpoints of another program; "": none
}

// The names under the prefix.
const (
	nameSignIn    = "/sign-in"
	nameCallback  = "/callback"
	nameSignOut   = "/sign-out"
	nameSignedOut = "/signed-out"
	nameSignedIn  = "/signed-in"
	nameOwn       = "/"
	nameLanguage  = "/language"
	nameInvite    = "/invitation"
)

// SignInURL is a link that starts a sign-in which comes back to p; with fresh the person has to sign in again.
func (e Endpoints) SignInURL(p ReturnPath, fresh bool) string {
	q := url.Values{"return_to": {p.String()}}
	if fresh {
		q.Set("fresh", "1")
	}
	return e.Prefix + nameSignIn + "?" + q.Encode()
}

// SignOutPath is where a sign-out form posts to.
func (e Endpoints) SignOutPath() string { return e.Prefix + nameSignOut }

// LanguagePath is the language switch.
func (e Endpoints) LanguagePath() string { return e.Prefix + nameLanguage }

// OwnPath is the person's own page.
func (e Endpoints) OwnPath() string { return e.Prefix + nameOwn }

// InvitationPath is where the link of an invitation leads.
func (e Endpoints) InvitationPath() string { return e.Prefix + nameInvite }

// callbackPath is the path of the redirect URI: the root form where there is one.
func (e Endpoints) callbackPath() string {
	if e.Callback != "" {
		return e.Callback
	}
	return e.Prefix + nameCallback
}

// Ours reports whether a decoded path belongs to Portero: one of the root forms, or anything under a prefix of ours.
func (e Endpoints) Ours(path string) bool {
	if under(e.Prefix, path) || e.Aliases != "" && under(e.Aliases, path) {
		return true
	}
	for _, own := range []string{e.SignIn, e.Callback, e.SignOut} {
		if own != "" && path == own {
			return true
		}
	}
	return false
}

func under(prefix, path string) bool { return path == prefix || strings.HasPrefix(path, prefix+"/") }

// Return keeps p unless it leads to an endpoint of ours, which would loop or sign out: then it is "/". The own page
// and the page `signed-in` are places to return to.
func (e Endpoints) Return(p ReturnPath) ReturnPath {
	path := p.Path()
	if path == e.Prefix+nameOwn || path == e.Prefix+nameSignedIn || path == e.Prefix {
		return p
	}
	if trimmed := strings.TrimRight(path, "/"); e.Ours(path) || e.Ours(trimmed) {
		return ReturnPath{}
	}
	return p
}

// ParseReturn reads a return path from outside: what is not one, or leads to an endpoint of ours, becomes "/".
func (e Endpoints) ParseReturn(s string) ReturnPath {
	p, _ := ParseReturnPath(s)
	return e.Return(p)
}
