package management

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"portero/internal/outbound"
)

// RefusedError is returned by a call that Logto answered with no, or with something that cannot be understood.
type RefusedError struct {
	Call   string // token, sessions, end session
	Status int
	Code   string // Logto's, like auth.forbidden, or OAuth's, like invalid_client; "" if it named none
	// Keys are the members of what was sent that Logto does not take, like deliveries.SignIn.html, at most five; a part that
	// is not known here is *.
	Keys       []string
	MailStatus int   // of Mailgun's answer to Logto; 0: none is told
	cause      error // nil: Logto said no
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("management API of Logto refused the call %q with status %d", e.Call, e.Status)
	if e.Code != "" {
		text += ", code " + e.Code
	}
	switch reason, _ := e.explain(); {
	case e.cause != nil:
		text += ": " + e.cause.Error()
	case reason != "":
		text += ": " + reason
	}
	return text
}

func (e *RefusedError) Unwrap() error { return e.cause }

// Is says what a refusal means beside itself: ErrNotFound or ErrTaken.
func (e *RefusedError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrTaken:
		taken := strings.HasSuffix(e.Code, "_exists") && !strings.HasSuffix(e.Code, "not_exists") || strings.HasSuffix(e.Code, "_in_use")
		return e.Status == http.StatusUnprocessableEntity && taken
	}
	return false
}

// Reason is why Logto refused, in words; "": it is not known.
func (e *RefusedError) Reason() string {
	reason, _ := e.explain()
	return reason
}

// Hint is what to do about it; "": nobody but the caller knows.
func (e *RefusedError) Hint() string {
	_, hint := e.explain()
	return hint
}

// mailsLimited is the code of Logto's limit of mails to one address.
const mailsLimited = "request.message_rate_limited"

// errMalformed is the cause of a RefusedError whose answer was not what the API promises.
var errMalformed = errors.New("the answer is not what the API promises")

const (
	role    = `"Logto Management API access"`
	console = "In Logto's console "
)

// explain says why, and what to do about it. The codes are Logto's; what else it says is not used.
func (e *RefusedError) explain() (reason, hint string) {
	switch {
	case errors.Is(e.cause, outbound.ErrRedirect):
		return "", "set logto.endpoint to Logto's own address: what answers there sends elsewhere, perhaps from http to https"
	case errors.Is(e.cause, outbound.ErrTooLarge), errors.Is(e.cause, errMalformed):
		return "", "check logto.endpoint: what answers there is not the API of Logto, or not of a version that is known here"
	case e.cause != nil:
		return "", ""
	}
	switch e.Code {
	// The token endpoint.
	case "invalid_target":
		return "Logto has no API of the indicator in logto.management.resource",
			"leave logto.management.resource out for a Logto of your own; for Logto Cloud set it to https://TENANT.logto.app/api, as the console shows it under API resources"
	case "invalid_client":
		if e.Status == http.StatusUnauthorized {
			return "the secret of the machine-to-machine application is wrong",
				console + "open the application of logto.management.app_id and copy its app secret to logto.management.app_secret, or to the file of logto.management.app_secret_file"
		}
		return "Logto has no application of the id in logto.management.app_id",
			console + "create an application of the type Machine-to-machine with the role " + role + " and put its App ID under logto.management.app_id; one of the admin tenant is not good here"
	case "unauthorized_client":
		return "the application of logto.management.app_id is not a machine-to-machine application",
			console + "create one of the type Machine-to-machine with the role " + role + " and put its App ID and secret under logto.management"

	// Every call of the API.
	case "auth.authorization_header_missing":
		return "the access token did not reach Logto",
			"have the proxy before Logto pass the header Authorization, or go round it by logto.internal_endpoint"
	case "auth.unauthorized":
		return "Logto does not take the access token that it gave",
			"check that logto.endpoint is the address that Logto itself has as ENDPOINT, that logto.management.resource is the indicator of its Management API, and its clock"
	case "auth.forbidden":
		return "the machine-to-machine application lacks the role " + role,
			console + "open the application of logto.management.app_id and assign it the role " + role
	case "guard.invalid_input":
		return "it does not take what was sent" + e.at(), "look at " + e.keys("the configuration that this comes from")
	case "entity.not_exists_with_id", "entity.not_exists", "entity.not_found":
		return "the tenant has none of that id", "it was removed, or belongs to another tenant: check the id, and that logto.endpoint is the right tenant"
	case mailsLimited:
		return "Logto has sent as many mails to that address as it sends in ten minutes", "wait ten minutes, or take another address"

	// Applications and people.
	case "application.secret_name_exists":
		return "the application has a client secret of that name already", console + "remove that secret if nothing uses it, or take another name"
	case "user.email_already_in_use":
		return "somebody has that address already", ""

	// The e-mail connector.
	case "connector.invalid_config":
		hint = "look at " + e.keys("mailgun")
		if slices.Contains(e.Keys, "endpoint") {
			hint = "set mailgun.endpoint to https://api.mailgun.net or, in the EU, https://api.eu.mailgun.net: Logto takes only what ends with .mailgun.net"
		}
		return "it does not take the configuration of the e-mail connector" + e.at(), hint
	case "connector.general":
		return e.explainMail()
	case "connector.template_not_found":
		return "there is no mail for this usage, and no Generic one", "add an entry with usage: Generic to mailgun.deliveries"
	case "connector.not_found":
		if e.Status == http.StatusNotImplemented {
			return "the tenant has no e-mail connector", "portero setup apply"
		}
		return e.explainMissing()
	case "connector.not_found_with_connector_id":
		return e.explainMissing()

	// The sign-in experience.
	case "sign_in_experiences.enabled_connector_not_found":
		return "e-mail sign-in needs an e-mail connector, and the tenant has none", "portero setup apply, with mailgun configured: it makes the connector first"
	case "sign_in_experiences.passwordless_requires_verify":
		return "who signs up with an address has to verify it", console + "switch on verification at sign-up, under Sign-in experience"
	default:
		switch {
		case strings.HasPrefix(e.Code, "sign_in_experiences."):
			return "it does not take the sign-in experience", console + "look at Sign-in experience, Sign-up and sign-in: what is set there does not go together with what is to be set"
		case strings.HasPrefix(e.Code, "connector."):
			return "it does not take the e-mail connector", "look at mailgun"
		}
	}
	switch {
	case e.Status == http.StatusNotFound && e.Code == "":
		return "nothing is there", "check logto.endpoint: it is Logto's address as browsers know it, without /oidc or /api, and Logto has to be 1.41 or newer"
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return "", "check logto.management, and what stands before Logto"
	}
	return "", "look for this code in Logto's log"
}

// explainMissing is explain for a connector that Logto could make if it knew it.
func (e *RefusedError) explainMissing() (reason, hint string) {
	return "this Logto has no such connector installed", "use Logto's official image, which has it, or run `npm run cli connector add --official` in Logto's folder and restart Logto"
}

// explainMail is explain for what the connector says of Mailgun.
func (e *RefusedError) explainMail() (reason, hint string) {
	if e.MailStatus == 0 {
		return "Logto could not reach Mailgun", "check that the machine on which Logto runs may connect to mailgun.endpoint"
	}
	const region = "a domain in the EU needs mailgun.endpoint: https://api.eu.mailgun.net, any other https://api.mailgun.net"
	reason = fmt.Sprintf("Mailgun refused with status %d what Logto sent", e.MailStatus)
	switch {
	case e.MailStatus == http.StatusUnauthorized, e.MailStatus == http.StatusForbidden:
		reason = fmt.Sprintf("Mailgun does not take the key that Logto shows (status %d)", e.MailStatus)
		hint = "check mailgun.api_key (or the file of mailgun.api_key_file): a key of one domain cannot send for another, nor one of one region in the other; " + region
	case e.MailStatus == http.StatusNotFound:
		reason = "Mailgun takes the key and does not know the domain (status 404)"
		hint = "check mailgun.domain; " + region
	case e.MailStatus == http.StatusTooManyRequests:
		hint = "Mailgun limits what is sent: try again later"
	case e.MailStatus >= 500:
		hint = "Mailgun is in trouble: try again later"
	default:
		hint = "check mailgun.domain, mailgun.from, and that templates of mailgun.deliveries are there at Mailgun"
	}
	return reason, hint
}

// at says where.
func (e *RefusedError) at() string {
	if len(e.Keys) == 0 {
		return ""
	}
	return " at " + strings.Join(e.Keys, ", ")
}

// keys are the keys of the configuration that Keys come from; other: none is known.
func (e *RefusedError) keys(other string) string {
	var found []string
	for _, key := range e.Keys {
		first, rest, _ := strings.Cut(strings.TrimPrefix(key, "config."), ".")
		ours := ""
		switch first {
		case "endpoint", "domain", "from", "deliveries":
			ours = "mailgun." + first
		case "apiKey":
			ours = "mailgun.api_key"
		case "name":
			ours = "pages.name"
		case "indicator":
			ours = "routes[].access_token.resource"
		case "email":
			ours = "the address"
		case "oidcClientMetadata":
			switch member, _, _ := strings.Cut(rest, "."); member {
			case "redirectUris", "postLogoutRedirectUris", "backchannelLogoutUri":
				ours = "external_url and routes[].hosts"
			}
		}
		if ours != "" && !slices.Contains(found, ours) {
			found = append(found, ours)
		}
	}
	if len(found) == 0 {
		return other
	}
	return strings.Join(found, ", ")
}

// refusal reads what Logto says of its no: the code, and of the rest only what explain needs. Its texts can hold keys,
// codes and tokens, so none of them is kept.
func refusal(name string, status int, body []byte) *RefusedError {
	e := &RefusedError{Call: name, Status: status, Code: codeOf(body)}
	var said struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(body, &said) != nil {
		return e
	}
	var data struct {
		Issues     json.RawMessage `json:"issues"`
		StatusCode json.RawMessage `json:"statusCode"`
	}
	if json.Unmarshal(said.Data, &data) != nil {
		return e
	}
	switch e.Code {
	case "connector.general":
		if n, err := strconv.Atoi(string(data.StatusCode)); err == nil && n >= 100 && n <= 599 {
			e.MailStatus = n
		}
	case "guard.invalid_input", "connector.invalid_config":
		e.Keys = keysOf(data.Issues)
	}
	return e
}

const (
	maxKeys = 5
	maxDeep = 6
)

// keysOf are the paths of zod's issues.
func keysOf(issues json.RawMessage) []string {
	var all []json.RawMessage
	if json.Unmarshal(issues, &all) != nil {
		return nil
	}
	var keys []string
	for _, raw := range all {
		var issue struct {
			Path []json.RawMessage `json:"path"`
		}
		if json.Unmarshal(raw, &issue) != nil || len(issue.Path) == 0 {
			continue
		}
		var parts []string
		for _, raw := range issue.Path[:min(len(issue.Path), maxDeep)] {
			parts = append(parts, partOf(raw))
		}
		if key := strings.Join(parts, "."); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		if len(keys) == maxKeys {
			break
		}
	}
	return keys
}

// partOf is a part of a path that may be shown: the name of a member that is known here, or a small index. Else *.
func partOf(raw json.RawMessage) string {
	if n, err := strconv.Atoi(string(raw)); err == nil && n >= 0 && n < 100 {
		return strconv.Itoa(n)
	}
	var name string
	if json.Unmarshal(raw, &name) == nil && slices.Contains(members, name) {
		return name
	}
	return "*"
}

// members are the names of what is sent to Logto.
var members = []string{
	"name", "description", "type", "types", "page", "page_size", "expiresAt", "expiresIn", "email", "indicator", "connectorId", "config", "locale", "params", "roleIds",
	"oidcClientMetadata", "redirectUris", "postLogoutRedirectUris", "backchannelLogoutUri", "backchannelLogoutSessionRequired", "logoUri",
	"customClientMetadata", "alwaysIssueRefreshToken", "refreshTokenTtlInDays", "refreshTokenTtl", "rotateRefreshToken", "idTokenTtl",
	"corsAllowedOrigins", "allowTokenExchange", "isDeviceFlow", "maxAllowedGrants", "appLevelAccessControlEnabled",
	"endpoint", "domain", "apiKey", "from", "deliveries", "SignIn", "Register", "ForgotPassword", "Generic", "OrganizationInvitation",
	"subject", "html", "text", "replyTo", "template", "variables",
	"signInMode", "signUp", "signIn", "identifiers", "methods", "identifier", "password", "verify", "verificationCode", "isPasswordPrimary",
	"unknownSessionRedirectUrl",
}

// codeOf is the word by which Logto names an error: `code` of its API, or `error` where it is OAuth's. "": none that is
// plain.
func codeOf(body []byte) string {
	var said struct {
		Code  json.RawMessage `json:"code"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return ""
	}
	for _, raw := range []json.RawMessage{said.Error, said.Code} {
		var word string
		if json.NewDecoder(bytes.NewReader(raw)).Decode(&word) == nil && plainCode(word) {
			return word
		}
	}
	return ""
}

// plainCode reports whether a word is like Logto's codes: lower-case words, as no key, code or token is.
func plainCode(word string) bool {
	return word != "" && len(word) <= 64 &&
		!strings.ContainsFunc(word, func(c rune) bool { return !(c >= 'a' && c <= 'z' || c == '.' || c == '_') })
}
