package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// quick is an access token's life in these tests, and late a moment in its last fifth.
const (
	quick = 10 * time.Minute
	late  = 9 * time.Minute
)

// refreshRig is a rig with a clock of its own and short access tokens.
func refreshRig(t *testing.T, o *gatewaytest.Options) *gatewaytest.Rig {
	t.Helper()
	if o == nil {
		o = &gatewaytest.Options{}
	}
	o.Clock = gatewaytest.NewClock()
	if o.Issuer == nil {
		o.Issuer = gatewaytest.NewIssuer(t)
	}
	o.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = quick })
	return gatewaytest.New(t, o)
}

// eventually waits until something that happens beside a request has happened.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(15 * time.Second); !is(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// refreshes is what the metrics say of refreshes with that outcome.
func refreshes(t testing.TB, rig *gatewaytest.Rig, outcome string) string {
	t.Helper()
	return metric(t, rig, `portero_refreshes_total{outcome="`+outcome+`"}`)
}

// metric is the value of one series, "" when it is not there.
func metric(t testing.TB, rig *gatewaytest.Rig, series string) string {
	t.Helper()
	for line := range strings.SplitSeq(rig.Admin(t, http.MethodGet, "/metrics").Text, "\n") {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return value
		}
	}
	return ""
}

// answerRefresh lets a test answer refreshes. nil: the issuer answers again.
func answerRefresh(rig *gatewaytest.Rig, answer func(w http.ResponseWriter, r *http.Request) bool) {
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = nil
		if answer != nil {
			i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
				return r.URL.Path == "/oidc/token" && r.PostForm.Get("grant_type") == "refresh_token" && answer(w, r)
			}
		}
	})
}

func refuseRefresh(rig *gatewaytest.Rig, status int, code string) {
	answerRefresh(rig, func(w http.ResponseWriter, _ *http.Request) bool {
		gatewaytest.Refuse(w, status, code)
		return true
	})
}

// cut breaks the connection instead of answering.
func cut(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

func asRole(rig *gatewaytest.Rig, roles ...string) {
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["roles"] = roles })
}

// Before the last fifth of the access token's life nothing is refreshed; in it a refresh runs beside the request.
func TestRefreshByUse(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	answerRefresh(rig, func(http.ResponseWriter, *http.Request) bool { <-held; return false })

	rig.Clock.Add(quick*4/5 - time.Second)
	b.Get(rig.URL + "/")
	if got := rig.Issuer.Calls("refresh_token") + rig.Issuer.Calls("/oidc/token"); got != 1 {
		t.Fatalf("before the last fifth: got %d token calls, want only the one of the sign-in", got)
	}
	asRole(rig, "admin")
	rig.Clock.Add(2 * time.Second)
	for range 5 { // while Logto takes its time
		if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("in the last fifth: got %s, want 200 at once", got.Status)
		}
	}
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Groups"); len(got) != 0 {
		t.Errorf("groups while the refresh is under way: got %q, want none", got)
	}
	release()
	eventually(t, "the refresh has succeeded", func() bool { return refreshes(t, rig, "succeeded") == "1" })
	b.Get(rig.URL + "/")
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Groups"); len(got) != 1 || got[0] != "admin" {
		t.Errorf("groups after the refresh: got %q, want admin", got)
	}
	if got := rig.Issuer.Calls("refresh_token"); got != 1 {
		t.Errorf("refreshes: got %d, want 1", got)
	}
}

// RT-01: whatever number of requests find the access token at its end, and whatever they have read before, Logto is
// asked once.
func TestParallelRefreshIsOne(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in the last fifth": late, "after its end": quick + time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := refreshRig(t, nil)
			rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Rotating = true })
			b := rig.SignedIn(t, "/")
			rig.Clock.Add(after)
			var wait sync.WaitGroup
			for range 100 {
				wait.Go(func() {
					if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
						t.Errorf("got %s, want 200", got.Status)
					}
				})
			}
			wait.Wait()
			eventually(t, "the refresh has succeeded", func() bool { return refreshes(t, rig, "succeeded") == "1" })
			b.Get(rig.URL + "/")
			if got := rig.Issuer.Calls("refresh_token"); got != 1 {
				t.Errorf("refreshes: got %d, want 1", got)
			}
		})
	}
}

// RT-03: two people whose tokens end at once get their own.
func TestRefreshOfTwoPeople(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	alice := rig.SignedIn(t, "/")
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Person = map[string]any{"sub": "bob00000000a", "email": "bob@example.com", "email_verified": true, "sid": "sid-2"}
	})
	bob := rig.SignedIn(t, "/")
	rig.Clock.Add(quick + time.Second)
	if got := bob.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("bob: got %s, want 200", got.Status)
	}
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Email"); got[0] != "bob@example.com" {
		t.Errorf("bob: the application was told %q", got)
	}
	// RT-07: an answer about somebody else ends the session.
	if got := alice.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("alice, when Logto answers with bob's token: got %s, want 302", got.Status)
	}
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Email"); got[0] != "bob@example.com" {
		t.Errorf("alice's request reached the application as %q", got)
	}
	if got := rig.Sessions(t); got != 1 {
		t.Errorf("sessions left: got %d, want 1", got)
	}
}

// A request after the end of the access token waits, and is decided on with the new claims.
func TestRefreshChangesTheDecision(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	asRole(rig, "admin")
	b := rig.SignedIn(t, "/admin/")
	asRole(rig)
	if got := b.Get(rig.URL + "/admin/"); got.StatusCode != http.StatusOK {
		t.Fatalf("before the refresh: got %s, want 200", got.Status)
	}
	rig.Clock.Add(quick)
	seen := len(rig.Upstream.Requests())
	got := b.Get(rig.URL + "/admin/")
	if got.StatusCode != http.StatusForbidden || len(rig.Upstream.Requests()) != seen {
		t.Errorf("after the role was taken: got %s, want 403 and nothing at the application", got.Status)
	}
	asRole(rig, "admin")
	rig.Clock.Add(quick)
	if got := b.Get(rig.URL + "/admin/"); got.StatusCode != http.StatusOK {
		t.Errorf("after the role was given back: got %s, want 200", got.Status)
	}
}

// RT-06: what an answer leaves out stays as it was.
func TestRefreshAnswersWithParts(t *testing.T) {
	t.Parallel()
	for _, missing := range [][]string{{"refresh_token"}, {"id_token"}, {"refresh_token", "id_token"}, {"expires_in"}} {
		t.Run(strings.Join(missing, " and "), func(t *testing.T) {
			t.Parallel()
			rig := refreshRig(t, nil)
			b := rig.SignedIn(t, "/")
			rig.Issuer.Do(func(i *gatewaytest.Issuer) {
				i.EditAnswer = func(answer map[string]any) {
					for _, name := range missing {
						delete(answer, name)
					}
				}
			})
			for range 3 {
				rig.Clock.Add(time.Hour + time.Second)
				if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
					t.Fatalf("got %s, want 200", got.Status)
				}
				if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Email"); len(got) != 1 || got[0] != "alice@example.com" {
					t.Errorf("the application was told %q", got)
				}
			}
			if got := rig.Issuer.Calls("refresh_token"); got != 3 {
				t.Errorf("refreshes: got %d, want 3", got)
			}
			b.Post(rig.URL+"/sign-out", nil)
			if got := rig.Issuer.Revoked(); len(got) != 1 {
				t.Errorf("revoked at sign-out: got %d tokens, want 1", len(got))
			}
		})
	}
}

// RT-04: a refusal ends the session. Nothing is asked of the person that Logto does not ask.
func TestRefreshRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		code   string
	}{
		"revoked":        {http.StatusBadRequest, "invalid_grant"},
		"unknown client": {http.StatusUnauthorized, "invalid_client"},
		"bad request":    {http.StatusBadRequest, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := refreshRig(t, nil)
			b := rig.SignedIn(t, "/")
			refuseRefresh(rig, c.status, c.code)
			rig.Clock.Add(quick)
			seen := len(rig.Upstream.Requests())
			got := b.Get(rig.URL + "/wanted")
			if got.StatusCode != http.StatusFound || !strings.HasPrefix(got.Location(), rig.Issuer.URL) {
				t.Fatalf("got %s to %q, want 302 to Logto", got.Status, got.Location())
			}
			if len(rig.Upstream.Requests()) != seen || rig.Sessions(t) != 0 {
				t.Errorf("%d requests reached the application, %d sessions are left; want none", len(rig.Upstream.Requests())-seen, rig.Sessions(t))
			}
			answerRefresh(rig, nil)
			if last := b.Follow(got); last.StatusCode != http.StatusOK || !strings.HasSuffix(last.Request.URL.Path, "/wanted") {
				t.Errorf("signing in again: got %s at %s, want 200 at /wanted", last.Status, last.Request.URL)
			}
			if got := rig.Issuer.Requests(); len(got) != 2 || got[1].Get("prompt") != "consent" {
				t.Errorf("authorization requests: got %d, the last with prompt %q; want 2 and consent", len(got), got[len(got)-1].Get("prompt"))
			}
			if got := strings.Count(rig.Log.String(), `"action":"session-ended"`); got != 1 {
				t.Errorf("lines about the end of the session: got %d, want 1", got)
			}
		})
	}
}

// Logto may deny a person the application and give it back; in between nothing gets through, not even between two
// attempts.
func TestRefreshAccessDenied(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in the last fifth": late, "after its end": quick + time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig := refreshRig(t, nil)
			b := rig.SignedIn(t, "/")
			refuseRefresh(rig, http.StatusBadRequest, "access_denied")
			rig.Clock.Add(after)
			if after < quick { // the request that starts the refresh does not wait for it
				b.Get(rig.URL + "/")
				eventually(t, "the refresh was denied", func() bool { return refreshes(t, rig, "access_denied") == "1" })
			}
			seen := len(rig.Upstream.Requests())
			for n := range 12 {
				got := b.Get(rig.URL + "/")
				if got.StatusCode != http.StatusForbidden || !strings.Contains(got.Text, "You do not have access to Wiki") || !strings.Contains(got.Text, "alice") {
					t.Fatalf("request %d: got %s, want 403 and the denied page with the address\n%s", n, got.Status, got.Text)
				}
				rig.Clock.Add(time.Second)
			}
			if got := len(rig.Upstream.Requests()); got != seen {
				t.Errorf("%d requests reached the application", got-seen)
			}
			if got := rig.Issuer.Calls("/oidc/token"); got < 3 || got > 5 {
				t.Errorf("token calls in twelve seconds: got %d, want a few", got)
			}
			// An outage does not give back what was denied.
			answerRefresh(rig, cut)
			for range 12 {
				if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusForbidden {
					t.Fatalf("denied, then Logto down: got %s, want 403", got.Status)
				}
				rig.Clock.Add(time.Second)
			}
			answerRefresh(rig, nil)
			rig.Clock.Add(time.Minute)
			if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
				t.Errorf("given back: got %s, want 200", got.Status)
			}
		})
	}
}

// SE-10: a sign-out during a refresh is not undone, and the token that comes afterwards is taken back.
func TestSignOutDuringRefresh(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Rotating = true })
	b := rig.SignedIn(t, "/")
	cookie := b.Cookies("localhost")[rig.Cookie()]

	// The issuer has worked the refresh off; its answer is on the way while the person signs out.
	arrived, release := make(chan struct{}), make(chan struct{})
	var fresh string
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) { fresh = answer["refresh_token"].(string) }
	})
	inner := rig.Issuer
	answerRefresh(rig, func(w http.ResponseWriter, r *http.Request) bool {
		inner.Do(func(i *gatewaytest.Issuer) { i.Answer = nil })
		held := &heldWriter{header: http.Header{}}
		inner.ServeHTTP(held, r)
		close(arrived)
		<-release
		held.send(w)
		return true
	})
	rig.Clock.Add(late)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("got %s, want 200", got.Status)
	}
	<-arrived
	b.Post(rig.URL+"/sign-out", nil)
	close(release)
	eventually(t, "the refresh has ended", func() bool { return refreshes(t, rig, "discarded") == "1" })
	eventually(t, "the new refresh token is revoked", func() bool {
		for _, token := range rig.Issuer.Revoked() {
			if token == fresh {
				return true
			}
		}
		return false
	})
	again := rig.Browser(t)
	again.SetCookie("localhost", rig.Cookie(), cookie)
	if got := again.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("with the cookie of the session that was ended: got %s, want 302", got.Status)
	}
	if got := rig.Sessions(t); got != 0 {
		t.Errorf("sessions left: got %d, want 0", got)
	}
}

// heldWriter keeps an answer until it is sent.
type heldWriter struct {
	header http.Header
	status int
	body   []byte
}

func (h *heldWriter) Header() http.Header { return h.header }

func (h *heldWriter) WriteHeader(status int) { h.status = status }

func (h *heldWriter) Write(p []byte) (int, error) {
	h.body = append(h.body, p...)
	return len(p), nil
}

func (h *heldWriter) send(w http.ResponseWriter) {
	for name, values := range h.header {
		w.Header()[name] = values
	}
	if h.status != 0 {
		w.WriteHeader(h.status)
	}
	w.Write(h.body)
}

// A session without a refresh token is over with its access token.
func TestNoRefreshToken(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	rig.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) { delete(answer, "refresh_token") }
	})
	b := rig.SignedIn(t, "/")
	rig.Clock.Add(late)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
		t.Errorf("before its end: got %s, want 200", got.Status)
	}
	rig.Clock.Add(quick - late)
	if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusFound {
		t.Errorf("at its end: got %s, want 302", got.Status)
	}
	if got := rig.Sessions(t); got != 0 {
		t.Errorf("sessions left: got %d, want 0", got)
	}
}

// Claims that only userinfo has are fetched at sign-in and at every refresh, where something needs them.
func TestUserinfoWhereNeeded(t *testing.T) {
	t.Parallel()
	const routes = `
  - {name: app, path: /, upstreams: [{url: UPSTREAM}]}
  - {name: it, path: /it, allow: [{claims: [{name: custom_data.department, values: [it]}]}], upstreams: [{url: UPSTREAM}]}
`
	rig := refreshRig(t, &gatewaytest.Options{
		Routes: routes, Extra: "identity: {headers: [{name: X-Forwarded-Department, claim: custom_data.department}]}",
	})
	department := func(name string) {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) {
			i.Person["custom_data"] = map[string]any{"department": name}
			i.Edit = func(claims map[string]any) { delete(claims, "custom_data") }
		})
	}
	department("sales")
	b := rig.SignedIn(t, "/")
	if got := gatewaytest.Header(rig.Upstream.Last(), "X-Forwarded-Department"); len(got) != 1 || got[0] != "sales" {
		t.Errorf("after signing in: the application was told %q, want sales", got)
	}
	if got := b.Get(rig.URL + "/it/"); got.StatusCode != http.StatusForbidden {
		t.Errorf("as sales: got %s, want 403", got.Status)
	}
	department("it")
	rig.Clock.Add(quick)
	if got := b.Get(rig.URL + "/it/"); got.StatusCode != http.StatusOK {
		t.Errorf("as it: got %s, want 200", got.Status)
	}
	if got := rig.Issuer.Calls("/oidc/me"); got != 2 {
		t.Errorf("calls of userinfo: got %d, want 2", got)
	}

	plain := refreshRig(t, nil)
	plain.SignedIn(t, "/")
	if got := plain.Issuer.Calls("/oidc/me"); got != 0 {
		t.Errorf("calls of userinfo where nothing needs it: got %d, want 0", got)
	}
}

// RT-10: a clock that jumps neither signs everybody out nor keeps anybody in for ever.
func TestRefreshWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	for _, jump := range []time.Duration{time.Hour, -time.Hour, -time.Hour, 2 * time.Hour} {
		rig.Clock.Add(jump)
		if got := b.Get(rig.URL + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("after a jump of %s: got %s, want 200", jump, got.Status)
		}
	}
	// A failure noted before the clock was set back does not stop refreshes for an hour.
	answerRefresh(rig, cut)
	rig.Clock.Add(time.Hour)
	b.Get(rig.URL + "/")
	answerRefresh(rig, nil)
	rig.Clock.Add(-30 * time.Minute)
	before := rig.Issuer.Calls("refresh_token")
	rig.Clock.Add(quick)
	if b.Get(rig.URL + "/"); rig.Issuer.Calls("refresh_token") != before+1 {
		t.Errorf("refreshes after the clock was set back: got %d more, want 1", rig.Issuer.Calls("refresh_token")-before)
	}
}

// The session's own answer follows a refresh.
func TestSessionAfterRefresh(t *testing.T) {
	t.Parallel()
	rig := refreshRig(t, nil)
	b := rig.SignedIn(t, "/")
	asRole(rig, "editor")
	rig.Clock.Add(quick)
	b.Get(rig.URL + "/")
	var got struct {
		Roles []string
		Ends  time.Time `json:"ends_at"`
		Began time.Time `json:"signed_in_at"`
	}
	if err := json.Unmarshal([]byte(b.Get(rig.URL+"/_portero/session").Text), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Roles) != 1 || got.Roles[0] != "editor" || got.Ends.Sub(got.Began) != 14*24*time.Hour {
		t.Errorf("got %+v, want the new role and the old end", got)
	}
}
