package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/mail"
	"portero/internal/management"
	"portero/internal/setup"
)

// settingsTimeout bounds the reading of all settings, so that there is time left to say that it failed.
const settingsTimeout = 12 * time.Second

// A restart or a limit that passes within the second is no finding. Whoever asks to be left alone for longer is one, and is
// not waited for.
const (
	settingsRetries = 2
	longestWait     = time.Second
)

// waitShortly waits between two tries, unless that is for longer than a check can wait.
func waitShortly(ctx context.Context, d time.Duration) error {
	if d > longestWait {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tenant is what the Management API tells: it is read once, and nothing is changed.
type tenant struct {
	config *config.Config
	look   *look
	want   *setup.Desired
	read   once[tenantState]
}

type tenantState struct {
	*setup.State
	err error
}

func (t *tenant) state(ctx context.Context) tenantState {
	return t.read.get(func() tenantState {
		client, err := setup.NewClientTrying(t.config, settingsRetries, waitShortly)
		if err != nil {
			return tenantState{err: err}
		}
		ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
		defer cancel()
		state, err := setup.Read(ctx, client, t.want)
		return tenantState{state, err}
	})
}

// checkManagement: does Logto let us read its settings?
func (t *tenant) checkManagement(ctx context.Context) Finding {
	const configure = "write logto.management.app_id and logto.management.app_secret, of an application of the type Machine-to-machine with the role \"Logto Management API access\""
	m := t.config.Logto.Management
	if m.AppID == "" {
		return skipped("logto.management is not configured, so that Logto's settings cannot be read", configure)
	}
	if f, skip := t.look.without(ctx); skip {
		return f
	}
	err := t.state(ctx).err
	expected := "Logto's Management API to answer " + t.managementKey()
	const pass = "what stands in front of Logto has to pass /api/ on to it, unchanged"
	var refused *management.RefusedError
	var told interface{ Hint() string }
	switch {
	case err == nil:
		return ok("Logto's settings can be read")
	case !errors.As(err, &told):
		return failed(expected, "the calls cannot be made", "look at logto.ca_file and logto.management")
	case !errors.As(err, &refused):
		return failed(expected, "no answer of the Management API that means something", told.Hint()+"; "+pass)
	}
	seen := fmt.Sprintf("status %d to the call %q", refused.Status, refused.Call)
	if refused.Code != "" {
		seen += " (" + refused.Code + ")"
	}
	reason := refused.Reason()
	if reason != "" {
		seen += ": " + reason
	}
	if reason == "" || refused.Code == "" { // perhaps it is not Logto that answered
		return failed(expected, seen, refused.Hint()+"; "+pass)
	}
	return failed(expected, seen, refused.Hint())
}

func (t *tenant) managementKey() string {
	if t.config.Logto.Management.AppSecretFile != "" {
		return "logto.management.app_secret_file"
	}
	return "logto.management.app_secret"
}

// without says why the tenant is not known. skip: it is not.
func (t *tenant) without(ctx context.Context) (_ Finding, skip bool) {
	if t.config.Logto.Management.AppID == "" {
		return see(nameManagement), true
	}
	if f, skip := t.look.without(ctx); skip {
		return f, true
	}
	if t.state(ctx).err != nil {
		return see(nameManagement), true
	}
	return Finding{}, false
}

// withoutApplication says why the application is not known. skip: it is not.
func (t *tenant) withoutApplication(ctx context.Context) (_ Finding, skip bool) {
	if f, skip := t.without(ctx); skip {
		return f, true
	}
	if t.state(ctx).Application == nil {
		return see(nameApplication), true
	}
	return Finding{}, false
}

// checkApplication: is the application one to which people can sign in, by the gateway?
func (t *tenant) checkApplication(ctx context.Context) Finding {
	if f, skip := t.without(ctx); skip {
		return f
	}
	a := t.state(ctx).Application
	expected := "an application of the type Traditional web, of your own, for logto.app_id"
	const create = "remove logto.app_id, run portero setup apply, which makes one, and write the app_id that it prints"
	switch {
	case a == nil && t.look.unknownClient(ctx):
		return see(nameClient)
	case a == nil:
		return failed(expected, "the tenant has none with that id", "copy the App ID of the application from Logto's console to logto.app_id; logto.management has to be of the same tenant")
	case a.Type != management.Traditional:
		return failed(expected, "one of another type"+inBrackets(a.Type), create)
	case a.ThirdParty:
		return failed(expected, "a third-party application, which asks people for their consent and gets only what it is allowed to ask", create)
	}
	return ok("the application is a Traditional web application")
}

// inBrackets repeats a plain word of somebody else's.
func inBrackets(word string) string {
	if plainWord(strings.ToLower(word)) {
		return " (" + word + ")"
	}
	return ""
}

// checkAccessControl: does Logto turn people away where they cannot come back?
func (t *tenant) checkAccessControl(ctx context.Context) Finding {
	if f, skip := t.withoutApplication(ctx); skip {
		return f
	}
	if t.state(ctx).Application.AccessControl {
		return warning("app-level access control switched off, since `allow` says who comes in", "it is on: people whom it denies stay on a page of Logto's and never come back",
			"say in `allow` who comes in, and switch it off in Logto's console (Applications, the application, Access control)")
	}
	return ok("Logto turns nobody away from the application")
}

// checkBackchannel: does Logto say to the gateway who signed out, and from which session?
func (t *tenant) checkBackchannel(ctx context.Context) Finding {
	if f, skip := t.withoutApplication(ctx); skip {
		return f
	}
	oidc := t.state(ctx).Application.OIDC
	uri, _ := oidc["backchannelLogoutUri"].(string)
	want := t.want.Application.BackchannelURI
	expected := "the back-channel logout URI " + want + " at the application, with a session id"
	const field = "\"Backchannel logout\" of the application in Logto's console"
	switch {
	case uri == "":
		return failed(expected, "none is registered, so that a sign-out elsewhere ends no session here", "run portero setup apply, or enter it under "+field)
	case uri != want:
		return failed(expected, "another one is registered: "+showURL(uri), "run portero setup apply, or enter it under "+field+"; if the other one is right, change external_url or endpoints.prefix")
	case oidc["backchannelLogoutSessionRequired"] != true:
		return failed(expected, "\"Is session required\" is off, so that tokens have no sid: a sign-out on one host does not end the sessions on others",
			"run portero setup apply, or switch \"Is session required\" on under "+field)
	}
	return ok("Logto says who signs out, with a session id")
}

// checkRefreshTokens: do refresh tokens last as long as sessions may?
func (t *tenant) checkRefreshTokens(ctx context.Context) Finding {
	if f, skip := t.withoutApplication(ctx); skip {
		return f
	}
	custom := t.state(ctx).Application.Custom
	days, want := 14.0, float64(t.want.Application.RefreshDays)
	if n, ok := custom["refreshTokenTtlInDays"].(json.Number); ok {
		days, _ = n.Float64()
	} else if n, ok := custom["refreshTokenTtl"].(json.Number); ok { // of older releases, in seconds
		seconds, _ := n.Float64()
		days = seconds / (24 * 60 * 60)
	}
	if days < want {
		return warning("refresh tokens that last "+inDays(want)+", as session.lifetime may need", "they last "+inDays(days)+", and sessions that are not used for so long end then",
			fmt.Sprintf("run portero setup apply, or write session.lifetime: %dh", int(days*24)))
	}
	return ok("refresh tokens last %s", inDays(days))
}

func inDays(n float64) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%.3g days", n)
}

// checkUnknownSession: where does a sign-in page lead that Logto does not know any more?
func (t *tenant) checkUnknownSession(ctx context.Context) Finding {
	if f, skip := t.without(ctx); skip {
		return f
	}
	to, _ := t.state(ctx).SignIn["unknownSessionRedirectUrl"].(string)
	want := t.want.SignIn.ContinueURL
	switch {
	case to == "":
		return warning("unknownSessionRedirectUrl "+want, "none: people who open an old sign-in page are stuck at Logto", "run portero setup apply")
	case to == want, slices.Contains(t.want.SignIn.Continues, to):
		return ok("old sign-in pages lead back to us")
	}
	return ok("old sign-in pages lead to %s, as somebody entered in Logto", showURL(to))
}

// checkConnector: does Logto send the mails with codes as the configuration says?
func (t *tenant) checkConnector(ctx context.Context) Finding {
	if f, skip := t.without(ctx); skip {
		return f
	}
	have, want := t.state(ctx).Email, t.want.Email
	const plan = "run portero setup plan, which shows what differs, and portero setup apply"
	mailgun := have != nil && have.Factory == management.MailgunConnector
	switch {
	case have == nil && want == nil:
		return failed("an e-mail connector in Logto", "none: nobody gets a code", "write mailgun.domain, mailgun.api_key and mailgun.from and run portero setup apply, or add an e-mail connector in Logto's console")
	case have == nil:
		return failed("the Mailgun connector in Logto", "no e-mail connector: nobody gets a code", "run portero setup apply")
	case want == nil && !mailgun:
		return ok("Logto has an e-mail connector")
	case !mailgun:
		return failed("the Mailgun connector in Logto", "an e-mail connector of another kind"+inBrackets(strings.ReplaceAll(have.Factory, "-", "_")), "run portero setup apply, which replaces it, or remove `mailgun` from the configuration")
	}
	text := func(name string) string { s, _ := have.Config[name].(string); return s }
	deliveries, _ := have.Config["deliveries"].(map[string]any)
	lacks := lacking(deliveries)
	if want == nil {
		if len(lacks) > 0 {
			return missingDeliveries(lacks, "add a delivery Generic to the connector in Logto's console")
		}
		return ok("Logto sends mails through Mailgun")
	}
	var bad, differs []string
	if !strings.EqualFold(text("domain"), want.Domain) {
		bad = append(bad, "another domain than mailgun.domain")
	}
	if !want.APIKey.Equal(config.NewSecret(text("apiKey"))) {
		bad = append(bad, "another key than mailgun.api_key")
	}
	if endpointOf(text("endpoint")) != endpointOf(want.Endpoint) {
		bad = append(bad, "another endpoint than mailgun.endpoint, as of the other region")
	}
	if text("from") != want.From {
		differs = append(differs, "another sender than mailgun.from")
	}
	if !sameDeliveries(deliveries, want.Deliveries) {
		differs = append(differs, "other mails than mailgun.deliveries")
	}
	expected := "the Mailgun connector in Logto as `mailgun` says"
	switch {
	case len(bad) > 0:
		return failed(expected, strings.Join(append(bad, differs...), ", "), plan+"; if Logto's is right, correct the configuration")
	case len(lacks) > 0:
		return missingDeliveries(lacks, plan)
	case len(differs) > 0:
		return warning(expected, strings.Join(differs, ", "), plan)
	}
	return ok("Logto sends mails through Mailgun as `mailgun` says")
}

func missingDeliveries(lacks []string, remedy string) Finding {
	return failed("a delivery of the connector for every usage, or Generic", "none for "+strings.Join(lacks, ", ")+": these mails are not sent", remedy)
}

// lacking are the usages for which the connector has no mail. Logto takes Generic for those that are not there.
func lacking(deliveries map[string]any) []string {
	if deliveries[mail.Generic] != nil {
		return nil
	}
	var lacks []string
	for _, usage := range mail.Usages() {
		if deliveries[usage] == nil {
			lacks = append(lacks, usage)
		}
	}
	return lacks
}

// endpointOf spells an endpoint of the connector so that two can be compared.
func endpointOf(text string) string {
	if text == "" {
		text = setup.DefaultEndpoint
	}
	return strings.ToLower(strings.TrimRight(text, "/"))
}

// sameDeliveries says whether the connector has the mails that are wanted. More of them are nobody's business.
func sameDeliveries(have map[string]any, want map[string]management.Object) bool {
	for usage, w := range want {
		a, err := json.Marshal(have[usage])
		b, err2 := json.Marshal(w)
		if err != nil || err2 != nil || string(a) != string(b) { // members are written in the order of their names
			return false
		}
	}
	return true
}

// checkGrants: does Logto have the roles and API resources that routes name?
func (t *tenant) checkGrants(ctx context.Context) Finding {
	if f, skip := t.without(ctx); skip {
		return f
	}
	s := t.state(ctx)
	var missing []string
	for _, role := range t.want.Roles {
		if !slices.ContainsFunc(s.Roles, func(r management.Role) bool { return r.Name == role }) {
			missing = append(missing, "the role "+role)
		}
	}
	for _, want := range t.want.Resources {
		if !slices.ContainsFunc(s.Resources, func(r management.Resource) bool { return r.Indicator == want.Indicator }) {
			missing = append(missing, "the API resource "+want.Indicator)
			continue
		}
		for _, scope := range want.Scopes {
			if !slices.ContainsFunc(s.Scopes[want.Indicator], func(s management.Scope) bool { return s.Name == scope }) {
				missing = append(missing, "the permission "+scope+" of "+want.Indicator)
			}
		}
	}
	if len(missing) > 0 {
		return failed("the roles and API resources that routes and logto.resources name, in Logto", "not there: "+some(missing), "run portero setup apply; then give the roles to people in Logto's console")
	}
	if len(t.want.Roles)+len(t.want.Resources) == 0 {
		return ok("no route names roles or API resources of Logto")
	}
	return ok("Logto has the roles and API resources that routes name")
}

// checkDrift: is the tenant as the configuration says?
func (t *tenant) checkDrift(ctx context.Context) Finding {
	if f, skip := t.without(ctx); skip {
		return f
	}
	p := setup.NewPlan(t.want, t.state(ctx).State, setup.Options{})
	expected := "Logto as the configuration says"
	if len(p.Problems) > 0 {
		var keys []string
		for _, one := range p.Problems {
			keys = append(keys, one.Key)
		}
		return warning(expected, "something that portero setup cannot set right: "+some(keys), "run portero setup plan, which says what to write")
	}
	if !p.Pending() {
		return ok("Logto is as the configuration says")
	}
	var what []string
	for _, c := range p.Changes {
		what = append(what, c.What)
	}
	slices.Sort(what)
	return warning(expected, fmt.Sprintf("it differs (%s)", strings.Join(slices.Compact(what), ", ")), "run portero setup plan, which shows them, and portero setup apply")
}
