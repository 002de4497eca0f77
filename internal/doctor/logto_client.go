package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"portero/internal/config"
)

// checkClient: does Logto know the application and take its secret?
func (l *look) checkClient(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	a := l.redeem(ctx)
	expected := "Logto to take logto.app_id with " + l.secretKey()
	switch {
	case a.problem != "":
		return failed(expected, a.problem, "let this machine reach "+l.issuer+"/token, as it does the discovery document")
	case a.status == http.StatusBadRequest && a.code == "invalid_grant":
		return ok("Logto takes logto.app_id with %s", l.secretKey())
	case a.code == "invalid_client" && !l.unknownClient(ctx):
		return failed(expected, "Logto does not take the secret (401 invalid_client)",
			"copy an app secret of the application from Logto's console to "+l.secretKey()+"; if it is the right one, the application is not of the type Traditional web, and you need another one")
	case a.code == "invalid_client" && l.isAdminConsole(ctx):
		return failed(expected, l.base()+" is Logto's admin console, which does not know the application (invalid_client)",
			"write the tenant's address into "+l.key()+": the endpoint that the application's page in Logto's console shows, in a Logto of one's own usually port 3001")
	case a.code == "invalid_client":
		return failed(expected, "Logto does not know the application (invalid_client)",
			"copy the App ID of the application from Logto's console to logto.app_id; if it is the right one, logto.endpoint is another tenant's")
	case a.code == "unauthorized_client":
		return failed(expected, "people cannot sign in to that application (400 unauthorized_client)",
			"write the App ID of an application of the type Traditional web into logto.app_id; a machine-to-machine one belongs into logto.management.app_id")
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return warning(expected, fmt.Sprintf("status %d, so it could not be tried", a.status), "look at Logto's log, and run portero doctor again")
	}
	return failed(expected, fmt.Sprintf("status %d, which is none of Logto's answers", a.status), "what stands in front of Logto has to pass /oidc/token on to it, with the Authorization header")
}

// secretKey is the key under which the client secret is configured.
func (l *look) secretKey() string {
	if l.config.Logto.AppSecretFile != "" {
		return "logto.app_secret_file"
	}
	return "logto.app_secret"
}

// isAdminConsole says whether logto.endpoint is the tenant that administrators sign in to.
func (l *look) isAdminConsole(ctx context.Context) bool {
	if l.experience(ctx).text("tenantId") == "admin" {
		return true
	}
	a := l.authorize(ctx, "admin-console", l.base()+"/console/callback")
	return a.redirect || a.code == "invalid_redirect_uri"
}

// unknownClient says whether Logto does not know the application. Its token endpoint then answers 400, and that of the
// engine inside it 401, as to a wrong secret; the authorization endpoint of both looks at the id alone.
func (l *look) unknownClient(ctx context.Context) bool {
	return l.unknown.get(func() bool {
		a := l.redeem(ctx)
		if a.code != "invalid_client" || a.status != http.StatusUnauthorized {
			return a.code == "invalid_client"
		}
		return l.authorize(ctx, l.config.Logto.AppID, l.config.RedirectURIs()[0]).code == "invalid_client"
	})
}

// clientKnown says whether Logto can be asked about the application.
func (l *look) clientKnown(ctx context.Context) bool {
	code := l.redeem(ctx).code
	return code == "invalid_grant" || code == "invalid_client" && !l.unknownClient(ctx)
}

// atOnce is how many requests are sent to Logto at the same time for one check.
const atOnce = 4

// each asks about every URI, a few at a time.
func each(uris []string, ask func(uri string) answer) []answer {
	answers := make([]answer, len(uris))
	turn := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, uri := range uris {
		turn <- struct{}{}
		group.Go(func() {
			answers[i] = ask(uri)
			<-turn
		})
	}
	group.Wait()
	return answers
}

// checkRedirectURIs: does Logto know the callback of every host?
func (l *look) checkRedirectURIs(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	if !l.clientKnown(ctx) {
		return see(nameClient)
	}
	uris := l.config.RedirectURIs()
	answers := each(uris, func(uri string) answer { return l.authorize(ctx, l.config.Logto.AppID, uri) })
	return registered(uris, answers, "redirect URI", "Redirect URIs", func(a answer) (known, sure bool) {
		return a.redirect, a.redirect || a.code == "invalid_redirect_uri"
	})
}

// checkPostLogoutURIs: does Logto know where people go after signing out, on every host?
func (l *look) checkPostLogoutURIs(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	if !l.clientKnown(ctx) {
		return see(nameClient)
	}
	uris := l.config.PostLogoutURIs()
	answers := each(uris, func(uri string) answer { return l.endSession(ctx, uri) })
	return registered(uris, answers, "post sign-out redirect URI", "Post sign-out redirect URIs", func(a answer) (known, sure bool) {
		return a.status == http.StatusOK, a.status == http.StatusOK || a.status == http.StatusBadRequest && a.code == "invalid_request"
	})
}

// registered is the finding about URIs of one kind, field being their name in Logto's console. read says of an answer
// whether the URI is known, and whether that is sure.
func registered(uris []string, answers []answer, kind, field string, read func(answer) (known, sure bool)) Finding {
	expected := "every " + kind + " registered at the application"
	var missing, unsure []string
	for i, uri := range uris {
		known, sure := read(answers[i])
		switch {
		case !sure:
			unsure = append(unsure, uri)
		case !known:
			missing = append(missing, uri)
		}
	}
	switch {
	case len(missing) > 0:
		return failed(expected, fmt.Sprintf("%d of %d not registered: %s", len(missing), len(uris), some(missing)),
			"run portero setup apply, or add to \""+field+"\" of the application in Logto's console: "+some(missing)+
				"; if you use other addresses, change external_url, endpoints or the hosts of the routes")
	case len(unsure) > 0:
		a := answers[slices.Index(uris, unsure[0])]
		seen := a.problem
		if seen == "" {
			seen = fmt.Sprintf("status %d", a.status)
		}
		return warning(expected, seen+" for "+some(unsure)+", so it could not be tried", "look at Logto's log, and run portero doctor again")
	}
	return ok("%d of %d registered", len(uris), len(uris))
}

// some joins a list, of a long one its beginning.
func some(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// asksForEmail says whether people are to sign in by their address.
func (l *look) asksForEmail() bool {
	ids := l.config.Logto.SignIn.Identifiers
	return len(ids) == 0 || slices.Contains(ids, "email")
}

// withoutExperience says why the sign-in experience is not known. skip: it is not.
func (l *look) withoutExperience(ctx context.Context) (_ Finding, skip bool) {
	if f, skip := l.without(ctx); skip {
		return f, true
	}
	a := l.experience(ctx)
	if a.status == http.StatusOK && a.object["signIn"] != nil {
		return Finding{}, false
	}
	return skipped("Logto does not tell its sign-in experience", "what stands in front of Logto has to pass /api/.well-known/sign-in-exp on to it, as sign-in pages need it too"), true
}

// checkEmailSignIn: can people sign in with a code that is sent to their address?
func (l *look) checkEmailSignIn(ctx context.Context) Finding {
	if !l.asksForEmail() {
		return skipped("logto.sign_in.identifiers does not have email", "add email to logto.sign_in.identifiers if people are to sign in by e-mail")
	}
	if f, skip := l.withoutExperience(ctx); skip {
		return f
	}
	expected := "sign-in by e-mail and verification code switched on in Logto"
	remedy := "run portero setup apply, or in Logto's console, Sign-in & account, Sign-up and sign-in: add \"Email address\" with \"Verification code\" to the sign-in methods"
	signIn, _ := l.experience(ctx).object["signIn"].(map[string]any)
	methods, _ := signIn["methods"].([]any)
	for _, one := range methods {
		m, _ := one.(map[string]any)
		switch {
		case m["identifier"] != "email":
		case m["verificationCode"] == true:
			if l.experience(ctx).text("signInMode") == "Register" {
				return failed(expected, "people can only register", "run portero setup apply, or switch sign-in on in Logto's console")
			}
			return ok("people sign in by e-mail and verification code")
		default:
			return failed(expected, "sign-in by e-mail with a password alone", remedy)
		}
	}
	return failed(expected, "no sign-in by e-mail", remedy)
}

// checkRegistration: may people register who are to, and nobody else?
func (l *look) checkRegistration(ctx context.Context) Finding {
	if f, skip := l.withoutExperience(ctx); skip {
		return f
	}
	const key = "logto.sign_in.registration"
	mode := l.experience(ctx).text("signInMode")
	open := mode == "SignInAndRegister" || mode == "Register"
	wanted := l.config.Logto.SignIn.Registration != config.RegistrationClosed
	routes := admitEverybody(l.config)
	switch {
	case open && !wanted && len(routes) > 0:
		return failed("registration closed, as "+key+" says", "it is open, and the routes "+some(routes)+" admit everybody who registers",
			"run portero setup apply, or in Logto's console, Sign-in & account, switch \"Enable user registration\" off")
	case open && !wanted:
		return warning("registration closed, as "+key+" says", "it is open: anybody can register, though `allow` still decides who comes in",
			"run portero setup apply, or write "+key+": open")
	case !open && wanted:
		return warning("registration open, as "+key+" says", "it is closed: people who are not registered are sent no code and told nothing",
			"run portero setup apply, or write "+key+": closed")
	case open && len(routes) > 0:
		return warning("registration open only where routes say who may come in", "everybody who has an e-mail address can register and use the routes "+some(routes),
			"write who may come in into `allow` of these routes, or "+key+": closed and run portero setup apply; if it is meant, leave it")
	case open:
		return ok("registration is open, and `allow` says who comes in")
	}
	return ok("registration is closed")
}

// admitEverybody names the routes that everybody may use who has an address.
func admitEverybody(c *config.Config) []string {
	var names []string
	for _, r := range c.Routes {
		if r.Access == config.AccessSignedIn && slices.ContainsFunc(r.Allow, admitsEverybody) {
			names = append(names, r.Name)
		}
	}
	return names
}

func admitsEverybody(r config.Rule) bool {
	return slices.Contains(r.EmailDomains, "*") && len(r.Emails)+len(r.Roles)+len(r.Organizations)+len(r.OrganizationRoles)+len(r.Claims)+len(r.Networks) == 0 && r.Expression == ""
}

// checkOfflineAccess: does Logto give refresh tokens at all?
func (l *look) checkOfflineAccess(ctx context.Context) Finding {
	if f, skip := l.without(ctx); skip {
		return f
	}
	has := func(member, value string) bool {
		list, there := l.discovery(ctx).object[member].([]any)
		return !there || slices.Contains(list, any(value)) // both members may be left out
	}
	expected := "the scope offline_access and the grant refresh_token in Logto's discovery document"
	remedy := "sessions end when their first tokens do (an hour): bring Logto to a release that offers both, or look at what changes its discovery document on the way"
	switch {
	case !has("scopes_supported", "offline_access"):
		return failed(expected, "offline_access is not offered", remedy)
	case !has("grant_types_supported", "refresh_token"):
		return failed(expected, "refresh_token is not offered", remedy)
	}
	for i, p := range l.config.Logto.SignIn.ExtraParams {
		if p.Name == "prompt" || p.Name == "scope" {
			return failed("sign-ins with prompt=consent, without which Logto gives no refresh token", p.Name+" is set by the configuration", fmt.Sprintf("remove logto.sign_in.extra_params[%d]", i))
		}
	}
	return ok("Logto gives refresh tokens")
}
