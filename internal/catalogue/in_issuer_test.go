package catalogue_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"portero/internal/gatewaytest"
)

// inviter is what an issuer does for invitations: it makes one-time tokens, and signs in with each of them once.
//
// As at Logto, no request of the gateway and none that follows a link spends a token: /oidc/auth answers with a page, and
// the script of that page does.
type inviter struct {
	rig *gatewaytest.Rig // nil until the gateway runs

	mu     sync.Mutex
	made   int
	tokens map[string]string           // :: one-time token that is good → address
	asked  []map[string]any            // bodies of requests for a token, oldest first
	shown  []url.Values                // authorization requests with a token, oldest first
	lie    func(w http.ResponseWriter) // answers a request for a token instead; nil: nothing does
	issuer *gatewaytest.Issuer
}

// machine are the credentials for the Management API, as they stand in a configuration.
const machine = "app_id: m2m, app_secret: " + gatewaytest.Canary + "secret-of-the-machine"

// sameSecret are the sessions of all gateways here that do not say otherwise: what one seals the other could open.
const sameSecret = "store: memory, secret: " + gatewaytest.SessionSecret

// inviting is a gateway of the catalogue that can invite, and its issuer's part.
func inviting(t *testing.T, o gatewaytest.Options) (*front, *inviter) {
	t.Helper()
	if o.Issuer == nil {
		o.Issuer = gatewaytest.NewIssuer(t)
	}
	n := &inviter{tokens: map[string]string{}, issuer: o.Issuer}
	o.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer, i.Person = n.serve, maps.Clone(alice) })
	o.Management = cmp.Or(o.Management, machine)
	o.Session = cmp.Or(o.Session, sameSecret)
	f := unsigned(t, o)
	n.mu.Lock()
	n.rig = f.Rig
	n.mu.Unlock()
	f.alice = f.signIn(t, alice)
	f.Upstream.Forget()
	return f, n
}

// oneTimeToken begins each one-time token.
const oneTimeToken = "one-time-token-of-a-test-"

// serve is Issuer.Answer.
func (n *inviter) serve(w http.ResponseWriter, r *http.Request) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	token := r.Form.Get("one_time_token")
	switch {
	case r.URL.Path == "/oidc/token" && r.Form.Get("grant_type") == "client_credentials":
		echo(w, http.StatusOK, map[string]any{"access_token": gatewaytest.Canary + "access-token-of-the-machine", "expires_in": 3600, "token_type": "Bearer", "scope": "all"})
	case r.Method == http.MethodPost && r.URL.Path == "/api/one-time-tokens":
		n.make(w, r)
	case r.URL.Path == "/oidc/auth" && strings.HasPrefix(token, oneTimeToken):
		n.shown = append(n.shown, r.Form)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>issuer</title><h1>One moment</h1><form id="f" method="post" action="/one-time-token?%s"></form><script>f.submit()</script>`, html.EscapeString(r.Form.Encode()))
	case r.Method == http.MethodPost && r.URL.Path == "/one-time-token":
		address, good := n.tokens[token]
		if !good || address != r.Form.Get("login_hint") {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `<!doctype html><title>issuer</title><h1>This link was used</h1>`)
			return true
		}
		delete(n.tokens, token)
		n.issuer.Do(func(i *gatewaytest.Issuer) { i.Person = guest(address) })
		http.Redirect(w, r, "/oidc/auth?"+withoutToken(r.Form), http.StatusSeeOther)
	default:
		return false
	}
	return true
}

// make answers a request for a one-time token. The caller holds the lock.
func (n *inviter) make(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	n.asked = append(n.asked, body)
	if n.lie != nil {
		n.lie(w)
		return
	}
	n.made++
	token := fmt.Sprintf("%s%08d", oneTimeToken, n.made)
	address, _ := body["email"].(string)
	n.tokens[token] = address
	if n.rig != nil {
		n.rig.Secret(token, "one-time token")
	}
	echo(w, http.StatusCreated, map[string]any{"tenantId": "default", "id": "t" + strconv.Itoa(n.made), "email": address, "token": token, "context": map[string]any{}, "status": "active", "createdAt": 1, "expiresAt": 2})
}

// withoutToken is an authorization request that goes on after its one-time token was taken.
func withoutToken(form url.Values) string {
	q := maps.Clone(form)
	q.Del("one_time_token")
	return q.Encode()
}

// guest is who an issuer signs in for an address.
func guest(address string) map[string]any {
	name, _, _ := strings.Cut(address, "@")
	return map[string]any{"sub": "guest-" + name, "sid": "sid-" + name, "email": address, "email_verified": true}
}

// unspent is how many one-time tokens are still good.
func (n *inviter) unspent() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.tokens)
}

// requests is how often a token was asked for, and how often one was shown.
func (n *inviter) requests() (asked, shown int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked), len(n.shown)
}

// last are the newest request for a token, and the newest that showed one.
func (n *inviter) last() (asked map[string]any, shown url.Values) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.asked) > 0 {
		asked = n.asked[len(n.asked)-1]
	}
	if len(n.shown) > 0 {
		shown = n.shown[len(n.shown)-1]
	}
	return asked, shown
}

// lying lets requests for a token be answered otherwise until the end of the test.
func (n *inviter) lying(t *testing.T, answer func(w http.ResponseWriter)) {
	t.Helper()
	set := func(answer func(w http.ResponseWriter)) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.lie = answer
	}
	set(answer)
	t.Cleanup(func() { set(nil) })
}

// Inviting are the gateways of a family that can invite.
func (d *doors) Inviting() (tls, plain *front, of map[*front]*inviter) {
	if d.inviters == nil {
		d.inviters = map[*front]*inviter{}
		for i, o := range []gatewaytest.Options{{TLS: true}, {}} {
			f, n := inviting(d.t, o)
			d.inviters[f], d.invite[i] = n, f
		}
	}
	return d.invite[0], d.invite[1], d.inviters
}

// invited tries something over every protocol at a gateway that can invite, as nobody.
func (d *doors) invited(t *testing.T, try func(t *testing.T, w way, n *inviter)) {
	t.Helper()
	tls, plain, of := d.Inviting()
	for _, p := range []struct {
		name  string
		front *front
		h2    bool
	}{{"HTTP 1.1 in TLS", tls, false}, {"HTTP 2", tls, true}, {"plain HTTP 1.1", plain, false}} {
		t.Run(p.name, func(t *testing.T) {
			p.front.Upstream.Forget()
			p.front.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
			try(t, way{front: p.front, h2: p.h2}, of[p.front])
		})
	}
}

// madeInvitation is the answer to somebody who invites.
type madeInvitation struct {
	Link, Email, To, App  string
	Error, Field, Message string
	ExpiresAt             string `json:"expires_at"`
}

// invites asks the admin listener for an invitation with that body.
func (f *front) invites(t *testing.T, body string, lines ...string) *gatewaytest.Answer {
	t.Helper()
	lines = append([]string{"Host: localhost", "Authorization: Bearer " + gatewaytest.AdminToken, "Content-Type: application/json", "Content-Length: " + strconv.Itoa(len(body))}, lines...)
	text := "POST /api/invitations HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n" + body
	if f.Process == nil {
		return askAt(t, f.Gateway.AdminAddr().String(), text)
	}
	return f.atAdmin(t, text)
}

// invitation is the body of a request for one.
func invitation(t *testing.T, email, to, expires string) string {
	t.Helper()
	fields := map[string]string{"email": email, "to": to}
	if expires != "" {
		fields["expires"] = expires
	}
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// invitationIn reads what somebody who invites is told.
func invitationIn(t *testing.T, a *gatewaytest.Answer) madeInvitation {
	t.Helper()
	var got madeInvitation
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
		t.Fatalf("got %s: %v\n%s", a, err, a.Body)
	}
	return got
}

// link is the link of an invitation of an address to a page, as a target. What is sealed in it must be told nowhere.
func (f *front) link(t *testing.T, email, page string) string {
	t.Helper()
	return f.linkFor(t, email, page, "")
}

// linkFor is link for so long.
func (f *front) linkFor(t *testing.T, email, page, expires string) string {
	t.Helper()
	to := page
	if strings.HasPrefix(page, "/") {
		to = f.URL + page
	}
	a := f.invites(t, invitation(t, email, to, expires))
	got := invitationIn(t, a)
	origin := f.URL
	if strings.HasPrefix(to, f.Second) {
		origin = f.Second
	}
	target, ok := strings.CutPrefix(got.Link, origin)
	if a.Status != http.StatusCreated || !ok || !strings.HasPrefix(target, "/_portero/invitation?i=") {
		t.Fatalf("inviting %s to %s: got %s\n%s", email, page, a, a.Body)
	}
	f.Secret(sealedIn(target), "link of an invitation")
	return target
}

// sealedIn is what a link has sealed.
func sealedIn(target string) string {
	_, sealed, _ := strings.Cut(target, "?i=")
	return sealed
}

// present follows an answer to the issuer with the one-time token, up to the page whose script would spend it; it returns
// the form of that page.
func (p *traveller) present(t *testing.T, a *gatewaytest.Answer) string {
	t.Helper()
	if q := p.toIssuer(t, a); len(q["one_time_token"]) != 1 || len(q["login_hint"]) != 1 {
		t.Fatalf("the issuer is asked %q, want one one-time token and one address", q)
	}
	resp := gatewaytest.NewBrowser(t, nil).Get(a.Header.Get("Location"))
	_, rest, ok := strings.Cut(resp.Text, `action="`)
	action, _, _ := strings.Cut(rest, `"`)
	if resp.StatusCode != http.StatusOK || !ok {
		t.Fatalf("the issuer's page: got %s\n%s", resp.Status, resp.Text)
	}
	return p.Issuer.URL + html.UnescapeString(action)
}

// spend does what the script of the issuer's page does, and returns the callback as a target; "": the issuer refuses.
func (p *traveller) spend(t *testing.T, form string) string {
	t.Helper()
	b := gatewaytest.NewBrowser(t, nil)
	req, err := http.NewRequest(http.MethodPost, form, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp := b.Do(req)
	if resp.StatusCode == http.StatusBadRequest {
		return ""
	}
	resp = b.Get(resp.Location())
	back, ok := strings.CutPrefix(resp.Location(), p.URL)
	if !ok {
		t.Fatalf("the issuer sends the browser to %q, want to %s", resp.Location(), p.URL)
	}
	return back
}

// accept opens a link as a person does, all the way to the page that it leads to.
func (p *traveller) accept(t *testing.T, link, page string) {
	t.Helper()
	seeOther(t, p.get(t, p.spend(t, p.present(t, p.get(t, link)))), page)
	p.forgetAttempts()
}

// refusedLink fails unless a link is answered with the page sign-in-failed: no redirect, no cookie, and nothing of it told.
func (p *traveller) refusedLink(t *testing.T, name string, a *gatewaytest.Answer, secrets ...string) {
	t.Helper()
	if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<title>"+headFailed) {
		t.Errorf("%s: got %s, want 400 with the heading %q\n%.2000s", name, a, headFailed, a.Body)
	}
	p.tellsNothing(t, name, a, secrets...)
}

// tellsNothing fails if an answer leads anywhere, keeps anything, or has one of the texts in it.
func (p *traveller) tellsNothing(t *testing.T, name string, a *gatewaytest.Answer, secrets ...string) {
	t.Helper()
	if a.Header.Get("Location") != "" || len(a.Header["Set-Cookie"]) != 0 {
		t.Errorf("%s: got the Location %q and the cookies %q, want none", name, a.Header.Get("Location"), a.Header["Set-Cookie"])
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(fmt.Sprint(a.Header, a.Body), secret) {
			t.Errorf("%s: the answer has %q", name, secret)
		}
	}
}
