package gateway_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

const headInvitationOver = "This invitation has run out"

// asPerson makes the next sign-in that of an address.
func asPerson(rig *gatewaytest.Rig, address string) {
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		name, _, _ := strings.Cut(address, "@")
		i.Person = map[string]any{"sub": name, "email": address, "email_verified": true, "sid": "sid-of-" + name}
	})
}

// landOn follows a redirect to the issuer until a page of ours.
func landOn(t testing.TB, rig *gatewaytest.Rig, b *gatewaytest.Browser, r *gatewaytest.Response, page string) {
	t.Helper()
	wantRedirect(t, b.Get(answered(t, rig, b, r)), page)
}

// The link signs in by the one-time token and leads to the page.
func TestInvitation(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	rig := gatewaytest.New(t, o)
	page := rig.URL + "/handbook?x=1&y=%C3%A9"
	link := linkTo(t, rig, "ann+wiki@example.com", page)
	asPerson(rig, "ann+wiki@example.com")

	b := rig.Browser(t)
	r := b.Do(b.Request("GET", link, nil, map[string]string{"Sec-Fetch-Site": "cross-site"})) // from a mail in the browser
	q := wantToLogto(t, rig, r)
	for name, want := range map[string]string{
		"one_time_token": oneTimeToken, "login_hint": "ann+wiki@example.com", "prompt": "login consent", "max_age": "1209600",
		"redirect_uri": rig.URL + "/callback", "code_challenge_method": "S256", "first_screen": "", "identifier": "",
	} {
		if got := q[name]; (want == "") != (len(got) == 0) || want != "" && (len(got) != 1 || got[0] != want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := r.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: got %q", got)
	}
	landOn(t, rig, b, r, page)
	if got := b.Get(page); got.StatusCode != http.StatusOK {
		t.Errorf("the page: got %s", got.Status)
	}

	// Signed in as that address, the link is a link to the page, and Logto is not asked.
	asked := len(rig.Issuer.Requests())
	wantRedirect(t, b.Get(link), page)
	if got := len(rig.Issuer.Requests()); got != asked {
		t.Error("somebody who is signed in was sent to Logto")
	}

	// As somebody else, it signs in anew.
	asPerson(rig, "bob@example.com")
	other := rig.SignedIn(t, "/")
	asPerson(rig, "ann+wiki@example.com")
	rig.Clock.Add(time.Minute)
	again := other.Get(link)
	if got := wantToLogto(t, rig, again).Get("prompt"); got != "login consent" {
		t.Errorf("somebody else: got the prompt %q", got)
	}
	landOn(t, rig, other, again, page)
	if got := other.Get(rig.URL + "/_portero/session").Text; !strings.Contains(got, "ann+wiki@example.com") {
		t.Errorf("after somebody else: got %s", got)
	}
}

// An answer older than the question is no answer: whoever holds the link has to have used it.
func TestInvitationNeedsAFreshSignIn(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	asPerson(rig, "ann@example.com")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = rig.Clock.Now().Add(-time.Hour) })
	b := rig.Browser(t)
	wantPage(t, b.Get(answered(t, rig, b, b.Get(link))), http.StatusBadRequest, headFailed)
}

// Logto's page can lead to another account than the invited one: that is nobody here, and who was signed in before stays.
func TestInvitationIsForTheInvited(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	rig := gatewaytest.New(t, o)
	page := rig.URL + "/x"
	link := linkTo(t, rig, "ann@example.com", page)
	asPerson(rig, "bob@example.com")
	bob := rig.SignedIn(t, "/")
	rows := rig.Sessions(t)
	for name, claims := range map[string]map[string]any{
		"somebody else":             {"sub": "eve", "email": "eve@example.com", "email_verified": true},
		"whoever was signed in":     {"sub": "bob", "email": "bob@example.com", "email_verified": true, "sid": "sid-of-bob"},
		"the address, not verified": {"sub": "ann", "email": "ann@example.com", "email_verified": false},
		"an address that looks so":  {"sub": "ann", "email": "ann@example.com.evil.example", "email_verified": true},
		"the address as a list":     {"sub": "ann", "email": []string{"ann@example.com"}, "email_verified": true},
		"no address":                {"sub": "ann"},
	} {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = claims })
		for who, b := range map[string]*gatewaytest.Browser{"signed out": rig.Browser(t), "as Bob": bob} {
			before := b.Cookies("localhost")[rig.Cookie()]
			wantPage(t, b.Get(answered(t, rig, b, b.Get(link))), http.StatusBadRequest, headFailed)
			if got := b.Cookies("localhost")[rig.Cookie()]; got != before || rig.Sessions(t) != rows {
				t.Errorf("%s, %s: the session was changed, or %d are there, want %d", name, who, rig.Sessions(t), rows)
			}
		}
	}
	if got := bob.Get(rig.URL + "/_portero/session").Text; !strings.Contains(got, "bob@example.com") {
		t.Errorf("Bob afterwards: got %s", got)
	}
	if !strings.Contains(rig.Log.String(), "not the invited address") {
		t.Error("the log does not say why")
	}

	// A sign-in that was begun anew by itself is still for her alone.
	asPerson(rig, "eve@example.com")
	eve := rig.Browser(t)
	late := answered(t, rig, eve, eve.Get(link))
	rig.Clock.Add(61 * time.Minute)
	again := eve.Get(late)
	if q := wantToLogto(t, rig, again); q.Has("one_time_token") || q.Get("prompt") != "login consent" {
		t.Errorf("begun anew: got %v", q)
	}
	wantPage(t, eve.Get(answered(t, rig, eve, again)), http.StatusBadRequest, headFailed)

	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "ann", "email": "Ann@Example.com", "email_verified": true}
	})
	landOn(t, rig, bob, bob.Get(link), page)
}

func TestInvitationOnTheOtherHost(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.Second+"/x")
	b := rig.Browser(t)
	if got := wantToLogto(t, rig, b.Get(link)).Get("redirect_uri"); got != rig.Second+"/callback" {
		t.Errorf("got the redirect URI %s", got)
	}
	wantPage(t, b.Get(strings.Replace(link, rig.Second, rig.URL, 1)), http.StatusBadRequest, headFailed)
}

// What was not sealed as an invitation for this host does not open, and says nothing.
func TestInvitationDoesNotOpen(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	elsewhere, _ := withInviter(t, gatewaytest.Options{})
	foreign := gatewaytest.New(t, elsewhere)
	sealed := strings.SplitAfter(link, "i=")[1]
	theirs := strings.SplitAfter(linkTo(t, foreign, "ann@example.com", foreign.URL+"/x"), "i=")[1]
	second := strings.SplitAfter(linkTo(t, rig, "ann@example.com", rig.Second+"/x"), "i=")[1]

	b := rig.Browser(t)
	state := wantToLogto(t, rig, b.Get(rig.URL+"/")).Get("state")
	attempt := b.Cookies("localhost")[attemptCookies(rig, b)[0]]
	session := rig.SignedIn(t, "/").Cookies("localhost")[rig.Cookie()]
	flipped := []byte(sealed)
	flipped[len(flipped)/2] ^= 1
	for name, query := range map[string]string{
		"nothing":                   "",
		"empty":                     "?i=",
		"another name":              "?x=" + sealed,
		"in capitals":               "?I=" + sealed,
		"twice":                     "?i=" + sealed + "&i=" + sealed,
		"twice, one empty":          "?i=" + sealed + "&i=",
		"cut":                       "?i=" + sealed[:len(sealed)-1],
		"cut by half":               "?i=" + sealed[:len(sealed)/2],
		"longer":                    "?i=" + sealed + "A",
		"padded":                    "?i=" + sealed + "=",
		"folded":                    "?i=" + sealed[:70] + "%0A" + sealed[70:],
		"a bit":                     "?i=" + string(flipped),
		"lower case":                "?i=" + strings.ToLower(sealed),
		"the token":                 "?i=" + oneTimeToken,
		"JSON":                      "?i=" + url.QueryEscape(`{"Token":"x","Email":"ann@example.com","Return":"/","Ends":9999999999}`),
		"a state":                   "?i=" + state,
		"an attempt":                "?i=" + attempt,
		"a session":                 "?i=" + session,
		"of another gateway":        "?i=" + theirs,
		"of another host":           "?i=" + second,
		"a query nobody reads":      "?i=" + sealed + "&%zz",
		"a semicolon":               "?i=" + sealed + ";x=1",
		"long":                      "?i=" + strings.Repeat("A", 5000),
		"long beside":               "?i=" + sealed + "&x=" + strings.Repeat("A", 9000),
		"with a return path beside": "?return_to=//evil.example&i=" + sealed[:20],
	} {
		b := rig.Browser(t)
		r := b.Get(rig.URL + "/_portero/invitation" + query)
		wantPage(t, r, http.StatusBadRequest, headFailed)
		if strings.Contains(r.Text, sealed[:20]) || strings.Contains(r.Text, "evil") || len(b.Cookies("localhost")) != 0 {
			t.Errorf("%s: got the cookies %v and\n%s", name, b.Cookies("localhost"), r.Text)
		}
	}
	for name, query := range map[string]string{
		"a counter of clicks": "?utm_source=mail&i=" + sealed, "a mail program": "?i=" + sealed + "&fbclid=x",
	} {
		if r := rig.Browser(t).Get(rig.URL + "/_portero/invitation" + query); r.StatusCode != http.StatusFound {
			t.Errorf("%s: got %s", name, r.Status)
		}
	}
	// The other way round: no invitation is a state, an attempt or a session.
	wantPage(t, rig.Browser(t).Get(rig.URL+"/callback?code=x&state="+sealed), http.StatusBadRequest, headFailed)
	for _, name := range []string{rig.Cookie(), attemptCookies(rig, b)[0]} {
		b := rig.Browser(t)
		b.SetCookie("localhost", name, sealed)
		wantToLogto(t, rig, b.Get(rig.URL+"/x"))
	}
}

func TestInvitationOver(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{Clock: gatewaytest.NewClock()})
	rig := gatewaytest.New(t, o)
	page := rig.URL + "/admin/x?q=1"
	_, got := invite(t, rig, "ann@example.com", page, "1h")
	asPerson(rig, "ann@example.com")
	ann := rig.SignedIn(t, "/")
	asPerson(rig, "bob@example.com")
	bob := rig.SignedIn(t, "/")

	rig.Clock.Add(time.Hour - time.Second)
	wantToLogto(t, rig, rig.Browser(t).Get(got.Link))
	rig.Clock.Add(time.Second)
	b := rig.Browser(t)
	r := b.Get(got.Link)
	wantPage(t, r, http.StatusGone, headInvitationOver+" · Administration")
	to := "/_portero/sign-in?return_to=" + url.QueryEscape("/admin/x?q=1")
	if !strings.Contains(r.Text, `href="`+to+`"`) || !strings.Contains(r.Text, "Code for support") || r.Header.Get("Proxy-Status") != "portero; error=http_request_denied" {
		t.Errorf("got the headers %v and\n%s", r.Header, r.Text)
	}
	sealed := strings.SplitAfter(got.Link, "i=")[1]
	for what, secret := range map[string]string{"link": sealed, "token": oneTimeToken, "address": "ann@"} {
		if strings.Contains(r.Text, secret) || what != "address" && strings.Contains(rig.Log.String(), secret) {
			t.Errorf("the %s is told", what)
		}
	}
	if len(attemptCookies(rig, b)) != 0 {
		t.Error("an attempt was begun")
	}
	asPerson(rig, "ann@example.com")
	landOn(t, rig, b, b.Get(rig.URL+to), page)

	es := rig.Browser(t)
	wantPage(t, es.Do(es.Request("GET", got.Link, nil, map[string]string{"Accept-Language": "es-419"})), http.StatusGone, "Esta invitación ha caducado")
	// Somebody else is asked who they are; Ann goes on.
	if r := bob.Get(got.Link); r.StatusCode != http.StatusGone || !strings.Contains(r.Text, "fresh=1") || strings.Contains(r.Text, "bob@") {
		t.Errorf("signed in as somebody else: got %s\n%s", r.Status, r.Text)
	}
	wantRedirect(t, ann.Get(got.Link), page)
	if r := es.Do(es.Request("HEAD", got.Link, nil, nil)); r.StatusCode != http.StatusGone || r.Text != "" {
		t.Errorf("HEAD: got %s\n%s", r.Status, r.Text)
	}
}

// Only a person who opens the link begins a sign-in.
func TestInvitationIsForNavigations(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	none := map[string]string{"Sec-Fetch-Site": "", "Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Sec-Fetch-User": ""}
	with := func(base map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range base {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for _, tt := range []struct {
		name, method string
		header       map[string]string
		want         int
	}{
		{"typed", "GET", nil, http.StatusFound},
		{"from another site", "GET", with(nil, "Sec-Fetch-Site", "cross-site"), http.StatusFound},
		{"from a mail program", "GET", with(nil, "Sec-Fetch-User", ""), http.StatusFound},
		{"an old browser", "GET", none, http.StatusFound},
		{"HEAD", "HEAD", nil, http.StatusFound},
		{"a program", "GET", with(none, "Accept", "*/*"), http.StatusUnauthorized},
		{"a program that reads JSON", "GET", with(none, "Accept", "application/json"), http.StatusUnauthorized},
		{"prefetch", "GET", with(nil, "Sec-Purpose", "prefetch"), http.StatusUnauthorized},
		{"prerender", "GET", with(nil, "Sec-Purpose", "prefetch;prerender"), http.StatusUnauthorized},
		{"preview", "GET", with(nil, "Purpose", "preview"), http.StatusUnauthorized},
		{"script", "GET", with(nil, "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"), http.StatusUnauthorized},
		{"image", "GET", with(nil, "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), http.StatusUnauthorized},
		{"frame", "GET", with(nil, "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Site", "cross-site"), http.StatusUnauthorized},
		{"POST", "POST", with(nil, "Sec-Fetch-Site", "same-origin"), http.StatusMethodNotAllowed},
		{"PUT", "PUT", nil, http.StatusMethodNotAllowed},
		{"DELETE", "DELETE", nil, http.StatusMethodNotAllowed},
		{"OPTIONS", "OPTIONS", nil, http.StatusMethodNotAllowed},
	} {
		b := rig.Browser(t)
		r := b.Do(b.Request(tt.method, link, nil, tt.header))
		if r.StatusCode != tt.want || (tt.want == http.StatusFound) != (len(attemptCookies(rig, b)) == 1) || tt.want != http.StatusFound && r.Header.Get("Location") != "" {
			t.Errorf("%s: got %s to %q with the attempts %v", tt.name, r.Status, r.Header.Get("Location"), attemptCookies(rig, b))
		}
		if strings.Contains(r.Text, oneTimeToken) || strings.Contains(r.Text, link[len(link)-40:]) || strings.Contains(r.Text, "ann@") {
			t.Errorf("%s: the answer tells of the link\n%s", tt.name, r.Text)
		}
		if tt.want == http.StatusMethodNotAllowed && r.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: got Allow %q", tt.name, r.Header.Get("Allow"))
		}
	}
	for _, path := range []string{"/_portero/invitation/", "/_portero/Invitation", "/_portero/%69nvitation", "/invitation"} {
		r := rig.Browser(t).Get(strings.Replace(link, "/_portero/invitation", path, 1))
		if strings.Contains(r.Header.Get("Location"), "one_time_token") {
			t.Errorf("%s: got %s to %q", path, r.Status, r.Header.Get("Location"))
		}
	}
}

// While Logto or the store does not answer, the page's button repeats the link, which it does not show.
func TestInvitationInTrouble(t *testing.T) {
	t.Parallel()
	o, logto := withInviter(t, gatewaytest.Options{})
	rig, store := storeRig(t, *o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	asPerson(rig, "bob@example.com")
	bob := rig.SignedIn(t, "/")
	before := store.writes()
	sealed := strings.SplitAfter(link, "i=")[1]
	look := func(r *gatewaytest.Response, heading string) {
		t.Helper()
		wantPage(t, r, http.StatusServiceUnavailable, heading)
		if !strings.Contains(r.Text, `href=""`) || strings.Contains(r.Text, sealed[:20]) || strings.Contains(r.Text, "return_to=%2F_portero") {
			t.Errorf("got\n%s", r.Text)
		}
	}
	store.fails.Store(true)
	rig.Clock.Add(2 * time.Second)
	look(bob.Get(link), "Wiki cannot be opened right now")
	store.fails.Store(false)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true }
	})
	rig.Clock.Add(48 * time.Hour)
	look(rig.Browser(t).Get(link), headUnavailable)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = logto.serve })
	if got := store.writes(); got != before {
		t.Errorf("writes: got %d more, want none", got-before)
	}
}

// Operators' own parameters do not lead elsewhere than the token does.
func TestInvitationWithParameters(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	o.Management += `}, sign_in: {extra_params: [{name: direct_sign_in, value: "social:google"}, {name: organization_id, value: org1}, {name: one_time_token, value: theirs}]`
	rig := gatewaytest.New(t, o)
	q := wantToLogto(t, rig, rig.Browser(t).Get(linkTo(t, rig, "ann@example.com", rig.URL+"/x")))
	if q.Has("direct_sign_in") || q.Get("organization_id") != "org1" || !slices.Equal(q["one_time_token"], []string{oneTimeToken}) {
		t.Errorf("got %v", q)
	}
	q = wantToLogto(t, rig, rig.Browser(t).Get(rig.URL+"/x"))
	if q.Get("direct_sign_in") != "social:google" || q.Get("one_time_token") != "theirs" || q.Has("login_hint") {
		t.Errorf("without an invitation: got %v", q)
	}
}

// A secret that was replaced still opens; one that is gone does not. The answers that were sealed before a reload go on.
func TestInvitationAndSecrets(t *testing.T) {
	t.Parallel()
	one, two := strings.Repeat("a", 31)+"1", strings.Repeat("b", 31)+"2"
	o, _ := withInviter(t, gatewaytest.Options{})
	o.Session = fmt.Sprintf("store: memory, secret: %s", one)
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	for _, tt := range []struct {
		session string
		opens   bool
	}{
		{fmt.Sprintf("store: memory, secret: %s, old_secrets: [{value: %s}]", two, one), true},
		{fmt.Sprintf("store: memory, secret: %s", two), false},
	} {
		o.Session = tt.session
		rig.Configure(o)
		if err := rig.Gateway.Reload(); err != nil {
			t.Fatal(err)
		}
		if r := rig.Browser(t).Get(link); (r.StatusCode == http.StatusFound) != tt.opens {
			t.Errorf("%s: got %s", tt.session, r.Status)
		}
	}
}

// Strangers with a link, and without, write nothing.
func TestInvitationsWriteNothing(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	rig, store := storeRig(t, *o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	for range 3 {
		rig.Browser(t).Get(link)
		rig.Browser(t).Get(link + "x")
	}
	rig.Clock.Add(8 * 24 * time.Hour)
	rig.Browser(t).Get(link)
	if got := store.writes(); got != 0 {
		t.Errorf("writes: got %d, want none", got)
	}
}

// The bytes of an answer, as they are on the wire.
func TestInvitationRaw(t *testing.T) {
	t.Parallel()
	o, _ := withInviter(t, gatewaytest.Options{})
	rig := gatewaytest.New(t, o)
	link := linkTo(t, rig, "ann@example.com", rig.URL+"/x")
	path := strings.TrimPrefix(link, rig.URL)
	host := strings.TrimPrefix(rig.URL, "http://")
	for _, tt := range []struct {
		name, request string
		want          int
	}{
		{"plain", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 302},
		{"absolute", "GET " + link + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 302},
		{"absolute with a body", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\nContent-Length: 5\r\n\r\nhello", 302},
		{"a dot", "GET " + path + " HTTP/1.1\r\nHost: " + strings.Replace(host, ":", ".:", 1) + "\r\nAccept: text/html\r\n\r\n", 302},
		{"another host", "GET " + path + " HTTP/1.1\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n", 421},
		{"a forwarded host", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nX-Forwarded-Host: evil.example\r\nAccept: text/html\r\n\r\n", 302},
		{"two hosts", "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.example\r\nAccept: text/html\r\n\r\n", 400},
		{"a line end", "GET " + path + "%0d%0aX: y HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 400},
		{"lower case", "get " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 405},
		{"a raw fragment", "GET " + path + "#x HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n", 400},
	} {
		got := rig.Raw(t, tt.request)
		if text := fmt.Sprint(got.Header, got.Body); got.Status != tt.want || strings.Contains(text, "evil.example") || got.Header.Get("X") != "" {
			t.Errorf("%s: got %s\n%s", tt.name, got, text)
		}
	}
}
