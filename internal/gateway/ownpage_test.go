package gateway_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// family is Alice in three browsers, of which the first is signed in on both hosts, and Bob.
type family struct {
	*gatewaytest.Rig
	t                 *testing.T
	home, phone, work *gatewaytest.Browser
	bob               *gatewaytest.Browser
	clock             *gatewaytest.Clock
	signedInAt        time.Time
}

func newFamily(t *testing.T, o *gatewaytest.Options) *family {
	t.Helper()
	if o == nil {
		o = &gatewaytest.Options{}
	}
	o.Clock = gatewaytest.NewClock()
	f := &family{Rig: gatewaytest.New(t, o), t: t, clock: o.Clock}
	in := func(name, sid string) *gatewaytest.Browser {
		f.person(name, sid)
		f.clock.Add(time.Minute)
		return f.SignedIn(t, "/")
	}
	f.signedInAt = f.clock.Now()
	f.home = in("alice", "home")
	signIn(t, f.home, f.Second+"/")
	f.phone = in("alice", "phone")
	f.work = in("alice", "work")
	f.bob = in("bob", "bobs")
	f.clock.Add(time.Minute)
	return f
}

// person is who the issuer signs in from now on.
func (f *family) person(name, sid string) {
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": name, "email": name + "@example.com", "email_verified": true, "sid": sid}
	})
}

// in names those who are signed in.
func (f *family) in() []string {
	f.t.Helper()
	var in []string
	for _, one := range []struct {
		name, origin string
		b            *gatewaytest.Browser
	}{{"home", f.URL, f.home}, {"second host", f.Second, f.home}, {"phone", f.URL, f.phone}, {"work", f.URL, f.work}, {"bob", f.URL, f.bob}} {
		if hasSessionNow(one.b, one.origin) {
			in = append(in, one.name)
		}
	}
	return in
}

// hasSessionNow asks without starting a sign-in.
func hasSessionNow(b *gatewaytest.Browser, origin string) bool {
	return b.Get(origin+"/_portero/session").StatusCode == http.StatusOK
}

func (f *family) wantIn(what string, want ...string) {
	f.t.Helper()
	if got := f.in(); !slices.Equal(got, want) {
		f.t.Errorf("%s: signed in are %q, want %q", what, got, want)
	}
}

var idField = regexp.MustCompile(`name="id" value="([^"]+)"`)

// ids are the sessions on the own page, in its order.
func ids(t testing.TB, b *gatewaytest.Browser, origin string) []string {
	t.Helper()
	r := b.Get(origin + "/_portero/")
	wantPage(t, r, http.StatusOK, "Signed in as")
	var out []string
	for _, m := range idField.FindAllStringSubmatch(r.Text, -1) {
		out = append(out, m[1])
	}
	return out
}

// end posts to sessions/end from the own page.
func end(b *gatewaytest.Browser, origin string, form url.Values) *gatewaytest.Response {
	return b.Post(origin+"/_portero/sessions/end", form)
}

// wantNotice follows the answer of an action to the own page and its notice; "" none.
func wantNotice(t testing.TB, b *gatewaytest.Browser, r *gatewaytest.Response, want string) {
	t.Helper()
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %s, %q, want an uncached 303\n%s", r.Status, r.Header.Get("Cache-Control"), r.Text)
	}
	u, err := url.Parse(r.Location())
	if err != nil || u.Path != "/_portero/" || u.Query().Has("notice") != (want != "") {
		t.Fatalf("got a redirect to %q", r.Location())
	}
	shown := b.Get(r.Location())
	if want == "" && strings.Contains(shown.Text, `role="status"`) {
		t.Errorf("there is a notice\n%s", shown.Text)
	}
	if want != "" && !strings.Contains(shown.Text, `<p class="note" role="status">`+want+`</p>`) {
		t.Errorf("there is no notice %q\n%s", want, shown.Text)
	}
}

func TestOwnPageListsSessions(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	mine := ids(t, f.home, f.URL)
	if len(mine) != 4 {
		t.Fatalf("Alice sees %d sessions, want her four", len(mine))
	}
	if bobs := ids(t, f.bob, f.URL); len(bobs) != 1 || slices.Contains(mine, bobs[0]) {
		t.Errorf("Bob sees %q", bobs)
	}
	for _, one := range []struct {
		b      *gatewaytest.Browser
		origin string
	}{{f.home, f.URL}, {f.home, f.Second}, {f.phone, f.URL}} {
		text := one.b.Get(one.origin + "/_portero/").Text
		if n := strings.Count(text, "This device"); n != 1 {
			t.Errorf("%s: %d of them are this device", one.origin, n)
		}
		first, _, _ := strings.Cut(text[strings.Index(text, "<li>"):], "</li>")
		if !strings.Contains(first, "This device") || !strings.Contains(text, "Sign out everywhere else") {
			t.Errorf("this device is not the first, or there is no button for the others\n%s", text)
		}
		seen := ids(t, one.b, one.origin)
		slices.Sort(seen)
		slices.Sort(mine)
		if !slices.Equal(seen, mine) {
			t.Errorf("%s: got %q, want %q", one.origin, seen, mine)
		}
	}
	if text := f.bob.Get(f.URL + "/_portero/").Text; strings.Contains(text, "everywhere else") {
		t.Error("Bob, in one browser, is offered to sign out everywhere else")
	}
	for _, secret := range []string{"alice@example.com</a>", "sid-", "home"} {
		if strings.Contains(f.phone.Get(f.URL+"/_portero/").Text, `"`+secret+`"`) {
			t.Errorf("%q is on the page", secret)
		}
	}
}

func TestEndOneSession(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	workID := ids(t, f.work, f.URL)[0]
	r := end(f.home, f.URL, url.Values{"id": {workID}})
	wantNotice(t, f.home, r, "1 session ended.")
	f.wantIn("after ending the one at work", "home", "second host", "phone", "bob")

	// The notice belongs to this session, and to this moment.
	for name, b := range map[string]*gatewaytest.Browser{"phone": f.phone, "bob": f.bob} {
		if strings.Contains(b.Get(r.Location()).Text, `role="status"`) {
			t.Errorf("%s sees the notice", name)
		}
	}
	if !strings.Contains(f.home.Get(r.Location()).Text, "1 session ended.") {
		t.Error("a reload at once loses the notice")
	}
	f.clock.Add(2 * time.Minute)
	if strings.Contains(f.home.Get(r.Location()).Text, `role="status"`) {
		t.Error("the notice is still there after two minutes")
	}
	// The second copy of the form finds nothing to end.
	wantNotice(t, f.home, end(f.home, f.URL, url.Values{"id": {workID}}), "")
}

// Ended from elsewhere, a browser is asked for a code, although its session at Logto lives.
func TestEndOthers(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	wantNotice(t, f.home, end(f.home, f.URL, url.Values{"others": {"1"}}), "3 sessions ended.")
	f.wantIn("after ending all others", "home", "bob")
	wantNotice(t, f.home, end(f.home, f.URL, url.Values{"others": {"1"}}), "")

	f.person("alice", "work")
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = f.signedInAt })
	asked := f.URL + "/reports"
	r := f.work.Get(atLogto(t, f.Rig, f.work, asked))
	if got := wantToLogto(t, f.Rig, r).Get("prompt"); got != "login consent" {
		t.Errorf("the silent sign-in: got prompt %q, want login consent", got)
	}
	f.wantIn("after a silent sign-in", "home", "bob")
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = f.clock.Now() })
	wantRedirect(t, f.work.Get(answered(t, f.Rig, f.work, r)), asked)
	f.wantIn("after a code", "home", "work", "bob")
}

func TestEndSessionsSpanish(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	r := end(f.home, f.URL, url.Values{"others": {"1"}})
	shown := f.home.Do(f.home.Request(http.MethodGet, r.Location(), nil, map[string]string{"Accept-Language": "es-419"}))
	if !strings.Contains(shown.Text, "Se han cerrado 3 sesiones.") {
		t.Errorf("got %s", shown.Text)
	}
}

// A refresh token is taken back unless a session lives by the same sign-in at Logto.
func TestEndedSessionsTakeTheirRefreshTokens(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	end(f.home, f.URL, url.Values{"others": {"1"}})
	until(t, "the refresh tokens of phone and work are taken back", func() bool { return len(f.Issuer.Revoked()) == 2 })
	f.wantIn("with the browser's other session ended", "home", "bob")
	end(f.bob, f.URL, url.Values{"others": {"1"}})
	if got := len(f.Issuer.Revoked()); got != 2 {
		t.Errorf("%d tokens are taken back, want two: the one of the second host lives on in the first", got)
	}
}

// The row of this device signs out, as the button above the list does.
func TestEndThisSession(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	r := end(f.home, f.URL, url.Values{"id": {ids(t, f.home, f.URL)[0]}})
	wantEndSession(t, f.Rig, r)
	f.wantIn("after ending this one", "phone", "work", "bob")
	wantPage(t, f.home.Follow(r), http.StatusOK, headSignedOut)
}

func TestEndSessionsWhoMay(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	phone := ids(t, f.phone, f.URL)[0]
	for name, header := range map[string]map[string]string{
		"another site":           {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		"a sibling host":         {"Sec-Fetch-Site": "same-site", "Origin": f.Second},
		"an address typed":       {"Sec-Fetch-Site": "none"},
		"metadata against it":    {"Sec-Fetch-Site": "cross-site", "Origin": f.URL},
		"only another origin":    {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
		"another port":           {"Sec-Fetch-Site": "", "Origin": "http://localhost:1"},
		"nowhere":                {"Sec-Fetch-Site": "", "Origin": "null"},
		"somebody who says none": {"Sec-Fetch-Site": ""},
	} {
		for _, form := range []url.Values{{"others": {"1"}}, {"id": {phone}}, {"id": {ids(t, f.home, f.URL)[0]}}} {
			header["Content-Type"] = "application/x-www-form-urlencoded"
			r := f.home.Do(f.home.Request(http.MethodPost, f.URL+"/_portero/sessions/end", strings.NewReader(form.Encode()), header))
			wantPage(t, r, http.StatusForbidden, headBadRequest)
			if r.Header.Get("Proxy-Status") != "portero; error=http_request_denied" {
				t.Errorf("%s: Proxy-Status %q", name, r.Header.Get("Proxy-Status"))
			}
		}
	}
	f.wantIn("after all of these", "home", "second host", "phone", "work", "bob")
	header := map[string]string{"Sec-Fetch-Site": "", "Origin": f.URL, "Content-Type": "application/x-www-form-urlencoded"}
	r := f.home.Do(f.home.Request(http.MethodPost, f.URL+"/_portero/sessions/end", strings.NewReader("id="+phone), header))
	wantNotice(t, f.home, r, "1 session ended.")
}

func TestEndSessionsOfNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	alices, bobs := ids(t, f.phone, f.URL)[0], ids(t, f.bob, f.URL)[0]
	for name, form := range map[string]url.Values{
		"another person's":    {"id": {alices}},
		"unknown":             {"id": {"AAAAAAAAAAAA"}},
		"a part of one":       {"id": {bobs[:6]}},
		"everything":          {"id": {""}},
		"a pattern":           {"id": {"*"}},
		"nothing":             {},
		"others, but not so":  {"others": {"0"}},
		"others as yes":       {"others": {"yes"}},
		"one and the others":  {"others": {"1"}, "id": {alices}},
		"this and the others": {"others": {"1"}, "id": {bobs}},
		"bytes":               {"id": {"\x00\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantNotice(t, f.bob, end(f.bob, f.URL, form), "")
		})
	}
	// Another content type is no form, and says nothing.
	r := f.home.Do(f.home.Request(http.MethodPost, f.URL+"/_portero/sessions/end", strings.NewReader(`{"others":"1"}`),
		map[string]string{"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": f.URL}))
	wantNotice(t, f.home, r, "")
	f.wantIn("after all of these", "home", "second host", "phone", "work", "bob")
}

func TestNoticeIsNotBelieved(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	for _, notice := range []string{"2", "-1", `{"Ended":2}`, strings.Repeat("A", 3000), "%00"} {
		if r := f.home.Get(f.URL + "/_portero/?" + url.Values{"notice": {notice}}.Encode()); strings.Contains(r.Text, `role="status"`) || r.StatusCode != http.StatusOK {
			t.Errorf("%.20q: got %s and perhaps a notice", notice, r.Status)
		}
	}
	r := end(f.home, f.URL, url.Values{"others": {"1"}})
	foreign := strings.Replace(r.Location(), f.URL, f.Second, 1)
	signIn(t, f.home, f.Second+"/")
	if strings.Contains(f.home.Get(foreign).Text, `role="status"`) {
		t.Error("the notice is shown on another host")
	}
}

func TestEndSessionsAfterTheSession(t *testing.T) {
	t.Parallel()
	f := newFamily(t, nil)
	form := url.Values{"others": {"1"}}
	end(f.phone, f.URL, form)
	r := end(f.home, f.URL, form) // its page was still open
	wantNotice(t, f.home, r, "")
	wantPage(t, f.home.Get(r.Location()), http.StatusOK, "You are not signed in")
	f.wantIn("after both", "phone", "bob")
	large := f.phone.Post(f.URL+"/_portero/sessions/end", url.Values{"id": {strings.Repeat("a", 70<<10)}})
	if large.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form: got %s, want 413", large.Status)
	}
	if got := f.phone.Get(f.URL + "/_portero/sessions/end"); got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") != "POST" {
		t.Errorf("opening the address: got %s, Allow %q", got.Status, got.Header.Get("Allow"))
	}
}

func TestEndSessionsWithoutTheStore(t *testing.T) {
	t.Parallel()
	rig, store := storeRig(t, gatewaytest.Options{})
	b, other := rig.SignedIn(t, "/"), rig.SignedIn(t, "/")
	page := ids(t, b, rig.URL)
	store.fails.Store(true)
	for _, form := range []url.Values{{"others": {"1"}}, {"id": {page[1]}}} {
		r := end(b, rig.URL, form)
		wantPage(t, r, http.StatusServiceUnavailable, "Wiki cannot be opened right now")
		if r.Header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	}
	wantPage(t, b.Get(rig.URL+"/_portero/"), http.StatusServiceUnavailable, "Wiki cannot be opened right now")
	store.fails.Store(false)
	// Reading works and writing does not: nothing may be said to have ended.
	store.forgets.Store(true)
	wantPage(t, end(b, rig.URL, url.Values{"others": {"1"}}), http.StatusServiceUnavailable, "Wiki cannot be opened right now")
	store.forgets.Store(false)
	wantNotice(t, b, end(b, rig.URL, url.Values{"others": {"1"}}), "") // it is over for this gateway, and said again
	if hasSessionNow(other, rig.URL) {
		t.Error("the other one is still signed in")
	}
}

// Somebody with very many sessions gets a small page, and ends them all at once.
func TestManySessionsOfOnePerson(t *testing.T) {
	t.Parallel()
	const count = 200
	rig := gatewaytest.New(t, nil)
	b := rig.SignedIn(t, "/")
	for range count {
		rig.SignedIn(t, "/")
	}
	r := b.Get(rig.URL + "/_portero/")
	if len(r.Text) > 12<<10 || !strings.Contains(r.Text, "And 191 more, used longer ago.") {
		t.Errorf("%d bytes\n%s", len(r.Text), r.Text)
	}
	began := time.Now()
	wantNotice(t, b, end(b, rig.URL, url.Values{"others": {"1"}}), "200 sessions ended.")
	t.Logf("ending %d sessions in a file took %s", count, time.Since(began))
	if got := rig.Sessions(t); got != 1 {
		t.Errorf("%d rows are left, want one", got)
	}
}
