package gateway

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"portero/internal/audit"
	"portero/internal/authflow"
	"portero/internal/forwarded"
	"portero/internal/identity"
	"portero/internal/management"
	"portero/internal/route"
)

// Bounds of an invitation.
const (
	invitationDefault = 7 * 24 * time.Hour
	invitationLeast   = time.Minute
	invitationMost    = 30 * 24 * time.Hour
	invitationBody    = 16 << 10 // bytes
	invitationAddress = 128      // bytes of an e-mail address: as many characters as Logto keeps
	invitationToken   = 512      // bytes; Logto's have 32
)

// invitationWanted is the body of POST /api/invitations.
type invitationWanted struct {
	Email   string
	To      string
	Expires string // 90m, 36h, 7d; "" is 7d
}

// fieldError is what is wrong with one field of a body.
type fieldError struct{ field, text string }

func (e *fieldError) Error() string { return e.field + ": " + e.text }

// apiInvite handles POST /api/invitations, JSON: it has Logto make a one-time token for an address, and answers 201 with
// the link that signs in with it and leads to a page of ours. Nothing is sent to anybody: whoever asked has the link.
func (g *Gateway) apiInvite(w http.ResponseWriter, r *http.Request) {
	want, err := readInvitation(w, r)
	if err != nil {
		refuseInvitation(w, err)
		return
	}
	gen := g.current.Load()
	email, err := parseInvited(want.Email)
	if err != nil {
		refuseInvitation(w, err)
		return
	}
	host, to, rt, err := gen.parseOwnPage(want.To)
	if err != nil {
		refuseInvitation(w, err)
		return
	}
	life, err := parseInvitationLife(want.Expires)
	if err != nil {
		refuseInvitation(w, err)
		return
	}
	if gen.flow.Management == nil {
		writeJSON(w, http.StatusNotImplemented, map[string]string{"error": "not_configured", "field": "logto.management",
			"message": "logto.management is not configured; add app_id and app_secret of a machine-to-machine application of Logto with the role \"Logto Management API access\""})
		return
	}
	ends := gen.now().Add(life).Truncate(time.Second)
	made, err := gen.flow.Management.CreateOneTimeToken(r.Context(), email, life)
	if err == nil && (made.Token == "" || len(made.Token) > invitationToken) {
		err = errors.New("the one-time token is not what the API promises")
	}
	if err != nil {
		gen.failInvitation(w, err)
		return
	}
	link, err := gen.flow.Invite(authflow.Invitation{Token: made.Token, Email: email, Host: host, To: to, Ends: ends})
	if err != nil {
		gen.log.Error("making the link of an invitation", "error", err)
		refuseAPI(w, http.StatusInternalServerError, "failed", "the link could not be made")
		return
	}
	from := forwarded.FromContext(asOperator(r).Context())
	g.audit.Record(r.Context(), audit.Event{
		Action: "invitation", Outcome: "made", Route: rt.Name, Email: email, Client: from.Client.String(), Method: r.Method, Host: host, Path: to.Path(),
	})
	writeJSON(w, http.StatusCreated, map[string]any{
		"link": link, "expires_at": ends.UTC(), "email": email, "to": gen.flow.Address(host, to), "app": gen.nameOf(rt, host),
	})
}

// nameOf is what people call the application behind a route.
func (g *generation) nameOf(rt *route.Route, host string) string {
	for _, name := range []string{g.appOf(rt), g.config.Pages.Name} {
		if name != "" {
			return name
		}
	}
	return host
}

func refuseInvitation(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	var field *fieldError
	switch {
	case errors.As(err, &field):
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "bad_request", "field": field.field, "message": field.Error()})
	case errors.As(err, &large):
		refuseAPI(w, http.StatusRequestEntityTooLarge, "bad_request", err.Error())
	case errors.Is(err, errJSONOnly):
		refuseAPI(w, http.StatusUnsupportedMediaType, "bad_request", err.Error())
	default:
		refuseAPI(w, http.StatusBadRequest, "bad_request", err.Error())
	}
}

// failInvitation answers with what a caller can do where Logto made no token; the log has the error.
func (g *generation) failInvitation(w http.ResponseWriter, err error) {
	g.log.Warn("asking Logto for a one-time token", "error", err)
	var refused *management.RefusedError
	switch {
	case errors.Is(err, management.ErrUnavailable):
		w.Header().Set("Retry-After", "30")
		refuseAPI(w, http.StatusServiceUnavailable, "unavailable", "Logto does not answer; try again")
	case errors.As(err, &refused) && (refused.Call == "token" || refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden):
		refuseAPI(w, http.StatusBadGateway, "refused",
			`Logto does not let us in; check logto.management, and that its application has the role "Logto Management API access"`)
	case errors.Is(err, management.ErrNotFound):
		refuseAPI(w, http.StatusBadGateway, "refused", "this Logto has no one-time tokens; it is too old")
	default:
		refuseAPI(w, http.StatusBadGateway, "refused", "Logto made no one-time token for this address; the gateway's log says more")
	}
}

var errJSONOnly = errors.New("send application/json")

// readInvitation reads the body, and nothing but a body of the one form.
func readInvitation(w http.ResponseWriter, r *http.Request) (want invitationWanted, err error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return want, errJSONOnly
	}
	if r.URL.RawQuery != "" {
		return want, errors.New("the query says nothing here; send the fields in the body")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, invitationBody))
	if err != nil {
		return want, fmt.Errorf("reading the body: %w", err)
	}
	bad := errors.New("the body is no JSON object of the texts email, to and expires, each once and by exactly that name")
	fields, err := identity.ParseClaims(body) // two readers of it find the same
	if err != nil {
		return want, bad
	}
	for name, value := range fields {
		text, ok := value.(string)
		switch {
		case ok && name == "email":
			want.Email = text
		case ok && name == "to":
			want.To = text
		case ok && name == "expires":
			want.Expires = text
		default:
			return invitationWanted{}, bad
		}
	}
	return want, nil
}

// parseInvited reads an e-mail address: plain, one, and in the form in which addresses are compared. Quoted parts,
// comments, display names and addresses of machines are none that people have (RFC 5321 4.1.2 would allow them), and
// nothing is left that a mail or a page could take for anything else: letters beyond ASCII are fine on both sides, in the
// one form that programs agree on (Unicode's NFKC; UTS 46 for the domain). A full-width domain is another name here, and
// the plain one to whoever delivers the mail.
func parseInvited(text string) (string, error) {
	bad := func(why string) (string, error) {
		return "", &fieldError{"email", why + "; write one like ann@example.com"}
	}
	switch {
	case text == "":
		return bad("is missing")
	case len(text) > invitationAddress:
		return bad(fmt.Sprintf("is longer than %d bytes", invitationAddress))
	case !utf8.ValidString(text):
		return bad("is not UTF-8")
	}
	email := identity.NormalEmail(text)
	local, domain, _ := strings.Cut(email, "@")
	switch {
	case email == "":
		return bad("is no address")
	case len(local) > 64 || !dotted(local, "!#$%&'*+/=?^_`{|}~-", 1):
		return bad("has characters before the @ that addresses of people do not have")
	case !dotted(domain, "-", 2):
		return bad("has no domain behind the @")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad("has no domain behind the @")
		}
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return bad("names a machine by its number")
	}
	if !norm.NFKC.IsNormalString(local) {
		return bad("has characters before the @ that stand for others")
	}
	if looked, err := idna.Lookup.ToUnicode(domain); !isASCII(domain) && (err != nil || looked != domain) {
		return bad("has a domain that is looked up under another name")
	}
	return email, nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// dotted reports whether s is of that many parts or more with dots between them, each of letters, digits and the others.
func dotted(s, others string, least int) bool {
	parts := strings.Split(s, ".")
	for _, part := range parts {
		strange := func(r rune) bool {
			if r < utf8.RuneSelf {
				return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(others, r))
			}
			return !unicode.In(r, unicode.L, unicode.M, unicode.N)
		}
		if part == "" || strings.ContainsFunc(part, strange) {
			return false
		}
	}
	return len(parts) >= least
}

// parseInvitationLife reads how long an invitation is good for: a duration with a unit, days as 7d.
func parseInvitationLife(text string) (time.Duration, error) {
	if text == "" {
		return invitationDefault, nil
	}
	var life time.Duration
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, &fieldError{"expires", "is no duration; write 7d, 36h or 90m"}
		}
		life = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if life, err = time.ParseDuration(text); err != nil {
			return 0, &fieldError{"expires", "is no duration; write 7d, 36h or 90m"}
		}
	}
	if life < invitationLeast || life > invitationMost {
		return 0, &fieldError{"expires", "is not between 1m and 30d"}
	}
	return life.Truncate(time.Second), nil
}

// maxOwnPage bounds the address of a page in bytes.
const maxOwnPage = 2 << 10

// parseOwnPage reads the address of a page that a route of ours serves: scheme, host and port as people see them, and a
// path and query that is a return path. It asks the routes as a request for it will, so that nobody is invited to a page
// that is refused to everybody.
func (g *generation) parseOwnPage(text string) (host string, to authflow.ReturnPath, rt *route.Route, err error) {
	bad := func(why string) (string, authflow.ReturnPath, *route.Route, error) {
		return "", authflow.ReturnPath{}, nil, &fieldError{"to", why}
	}
	example := g.config.Origin(g.config.Hosts()[0]) + "/"
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case text == "":
		return bad("is missing; write the address of a page, such as " + example)
	case len(text) > maxOwnPage:
		return bad(fmt.Sprintf("is longer than %d bytes", maxOwnPage))
	case !ok || !strings.EqualFold(scheme, g.config.ExternalURL.Scheme):
		return bad("does not begin with " + g.config.ExternalURL.Scheme + "://; write one like " + example)
	}
	scheme = g.config.ExternalURL.Scheme
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, path := rest[:end], rest[end:]
	canonical, err := forwarded.CanonicalHost(authority, scheme)
	if err != nil || !g.isOrigin(scheme, canonical) {
		return bad("is on no host of this gateway; write one like " + example)
	}
	if path == "" || path[0] != '/' {
		path = "/" + path
	}
	to, ok = authflow.ParseReturnPath(path)
	if !ok {
		return bad("has a path that cannot be come back to: blanks, backslashes, dot segments and characters beyond ASCII have to be percent-encoded or left out")
	}
	if g.endpoints.Ours(to.Path()) || g.endpoints.Return(to) != to {
		return bad("is an endpoint of Portero itself; write a page of an application")
	}
	plain, _, _ := strings.Cut(to.String(), "#")
	target, err := route.ParseTarget(http.MethodGet, plain, canonical)
	if err == nil {
		rt, err = g.table.Match(canonical, http.MethodGet, target)
	}
	if err == nil {
		_, err = rt.Forward(target)
	}
	switch {
	case errors.Is(err, route.ErrNoRoute):
		return bad("has a path that no route serves")
	case err != nil || target.Reads(g.endpoints.Ours):
		return bad("has a path that is refused; look for %2F, %25, ; and // in it")
	case rt.Access == route.Deny:
		return bad(fmt.Sprintf("is a page of the route %s, which is closed to everybody", rt.Name))
	}
	host = forwarded.Request{Host: canonical}.Hostname()
	if err := g.flow.Invitable(host, to); err != nil {
		return bad("has a path and query that are too long to come back to after a sign-in; about 900 bytes fit")
	}
	return host, to, rt, nil
}

// isOrigin reports whether people reach a host of ours under that scheme, name and port.
func (g *generation) isOrigin(scheme, canonical string) bool {
	for _, host := range g.config.Hosts() {
		_, authority, _ := strings.Cut(g.config.Origin(host), "://")
		if own, err := forwarded.CanonicalHost(authority, scheme); err == nil && own == canonical {
			return true
		}
	}
	return false
}
