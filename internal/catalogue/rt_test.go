package catalogue_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var refreshes = family{ID: "RT", Title: "Tokens over time", Attacks: []attack{
	{ID: "RT-01", Name: "parallel refresh", Want: "a hundred requests at the end of the access token are one refresh", Why: "rotation with reuse detection kills the grant", Test: parallelRefresh(1)},
	{ID: "RT-02", Name: "parallel refresh over two nodes", Want: "one refresh", Why: "a known limitation of mod_auth_openidc", Test: parallelRefresh(2)},
	{ID: "RT-03", Name: "two people at once", Want: "each is told of themselves alone", Why: "CVE-2026-71326: a key of singleflight that is not the session's", Test: twoPeople},
	{ID: "RT-04", Name: "refresh refused", Want: "the session ends after one call, with one line in the log", Why: "oauth2-proxy 3333", Test: refusedRefresh},
	{ID: "RT-05", Name: "refresh failing for a while", Want: "the session goes on for refresh_grace and not longer, with few calls, and recovers", Test: failingRefresh},
	{ID: "RT-06", Name: "answers without parts", Want: "the refresh token and the claims of before are kept", Why: `the SDK of Logto overwrites the refresh token with ""`, Test: answersInParts},
	{ID: "RT-07", Name: "changed claims", Want: "new claims count at once; another sub, iss or aud ends the session", Why: "OpenID Connect Core 12.2, three conformance modules", Test: changedClaims},
	{ID: "RT-08", Name: "killed between refresh and save", Want: "no row is damaged, nobody is held up for good, and who lost their tokens signs in again", Test: killedInRefresh},
	{ID: "RT-09", Name: "a slow issuer in the path of a request", Want: "it waits five seconds, then goes on with the claims of before", Test: slowRefresh},
	{ID: "RT-10", Name: "the clock jumps", Want: "nobody is signed out, and no session is endless", Test: clockJumps},
}}

// brief is an access token's life where it is to run out.
const brief = time.Second

// spent signs people in whose access tokens have run out when it returns; those that come afterwards live an hour. The
// issuer is as it was at the end of the test.
func (f *front) spent(t *testing.T, people ...map[string]any) []*traveller {
	t.Helper()
	f.issuer(t, func(i *gatewaytest.Issuer) { i.AccessLife = brief })
	var all []*traveller
	for _, who := range people {
		all = append(all, f.arrive(t, who))
	}
	f.ranOut(t)
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = 0 })
	return all
}

// ranOut waits until the brief tokens that were made so far have run out.
func (f *front) ranOut(t *testing.T) {
	t.Helper()
	at := time.Now().Add(brief)
	gatewaytest.Await(t, "the access token has run out", func() bool { return time.Now().After(at) })
}

// onRefresh lets a test answer refreshes; it returns whether it did.
func (f *front) onRefresh(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == "/oidc/token" && r.PostForm.Get("grant_type") == "refresh_token" && answer(w, r)
		}
	})
}

// owners makes the issuer of a gateway answer a refresh for whoever the token belongs to. change, by sid, changes claims.
type owners struct {
	change map[string]func(claims map[string]any)
	people map[any]map[string]any // :: nonce of the sign-in → who that was
}

// own is called before people sign in, and again behind what replaces the issuer's Edit.
func (f *front) own(o *owners) *owners {
	if o == nil {
		o = &owners{change: map[string]func(map[string]any){}, people: map[any]map[string]any{}}
	}
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.Edit = func(claims map[string]any) {
			who, refresh := o.people[claims["nonce"]]
			if !refresh {
				who = maps.Clone(i.Person)
				o.people[claims["nonce"]] = who
			}
			maps.Copy(claims, who)
			if change := o.change[fmt.Sprint(who["sid"])]; refresh && change != nil {
				change(claims)
			}
		}
	})
	return o
}

// granted fails unless so many refreshes were made, each with a token of its own, and the grant lives.
func granted(t *testing.T, g *gatewaytest.Grants, want int) {
	t.Helper()
	seen := map[string]bool{}
	for _, token := range g.Presented() {
		if seen[token] {
			t.Error("a refresh token was presented twice")
		}
		seen[token] = true
	}
	if got := len(g.Presented()); got != want {
		t.Errorf("refreshes: got %d, want %d", got, want)
	}
	if g.Killed() {
		t.Error("the grant is dead")
	}
}

func parallelRefresh(over int) func(*testing.T, *doors) {
	return func(t *testing.T, d *doors) {
		x := d.Nodes()
		for round := range 2 {
			p := x.all[0].spent(t, newAlice())[0]
			grants := gatewaytest.NewGrants(x.all[0].Issuer)
			var wait sync.WaitGroup
			for n := range 100 {
				wait.Go(func() {
					q := p.on(x.all[n%over]).over(n%4 > 1)
					if a := q.patient(t, request{}); a.Status != http.StatusOK {
						t.Errorf("round %d: got %s, want 200", round, a)
					}
				})
			}
			wait.Wait()
			granted(t, grants, 1)
			for _, f := range x.all {
				if !p.on(f).in(t) {
					t.Error("afterwards it is not signed in")
				}
			}
			granted(t, grants, 1)
		}
	}
}

func twoPeople(t *testing.T, d *doors) {
	x := d.Nodes()
	f := x.all[0]
	f.own(nil)
	people := []map[string]any{newAlice(), maps.Clone(bob)}
	all := f.spent(t, people...)
	calls := f.Issuer.Calls("refresh_token")
	for _, f := range x.all {
		f.Upstream.Forget()
	}
	var wait sync.WaitGroup
	for n := range 60 {
		wait.Go(func() {
			who, p := people[n%2], all[n%2].on(x.all[n/2%2]).over(n%8 > 3)
			if a := p.patient(t, request{Lines: fieldsOf("X-Who", fmt.Sprint(who["sub"]))}); a.Status != http.StatusOK {
				t.Errorf("got %s, want 200", a)
			}
			var got struct{ Subject, Email string }
			a := p.patient(t, request{Target: "/_portero/session"})
			if err := json.Unmarshal([]byte(a.Body), &got); err != nil || got.Subject != who["sub"] || got.Email != who["email"] {
				t.Errorf("%s was shown %s", who["email"], a.Body)
			}
		})
	}
	wait.Wait()
	told := 0
	for _, f := range x.all {
		for _, head := range f.Upstream.Requests() {
			h := fields(head)
			if told++; len(h["x-auth-sub"]) != 1 || h["x-auth-sub"][0] != h["x-who"][0] {
				t.Errorf("the application was told of %q for %q", h["x-auth-sub"], h["x-who"])
			}
		}
	}
	if told != 60 {
		t.Errorf("requests at the applications: got %d, want 60", told)
	}
	if got := f.Issuer.Calls("refresh_token") - calls; got != 2 {
		t.Errorf("refreshes: got %d, want one each", got)
	}
}

var sessionEnded = regexp.MustCompile(`"action":"session-ended".*"session":"([^"]+)"`)

func refusedRefresh(t *testing.T, d *doors) {
	x := d.Nodes()
	f := x.all[0]
	cases := []struct {
		name, code string
		status     int
	}{
		{"invalid_grant", "invalid_grant", http.StatusBadRequest}, {"invalid_grant as 401", "invalid_grant", http.StatusUnauthorized},
		{"invalid_client", "invalid_client", http.StatusUnauthorized}, {"401 alone", "", http.StatusUnauthorized}, {"unauthorized_client", "unauthorized_client", http.StatusBadRequest},
	}
	var people []map[string]any
	for range cases {
		people = append(people, newAlice())
	}
	all := f.spent(t, people...)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := all[i]
			presented := map[string]int{}
			rows := len(x.keys(t, "portero:row:*"))
			var from []int
			for _, f := range x.all {
				f.Upstream.Forget()
				from = append(from, len(f.Log.String()))
			}
			f.onRefresh(func(w http.ResponseWriter, r *http.Request) bool {
				f.Issuer.Do(func(*gatewaytest.Issuer) { presented[r.PostForm.Get("refresh_token")]++ })
				gatewaytest.Refuse(w, c.status, c.code)
				return true
			})
			var wait sync.WaitGroup
			for n := range 30 {
				wait.Go(func() {
					if a := p.on(x.all[n%2]).over(n%4 > 1).patient(t, request{}); a.Status != http.StatusUnauthorized {
						t.Errorf("got %s, want 401", a)
					}
				})
			}
			wait.Wait()
			for _, f := range x.all {
				f.nothingReached(t)
				p.on(f).wantOut(t)
			}
			var tokens int // one, and that of somebody before whose refresh is tried again beside
			gatewaytest.Await(t, "there is a line about each session that ended, and its row is gone", func() bool {
				tokens = 0
				f.Issuer.Do(func(*gatewaytest.Issuer) {
					for _, calls := range presented {
						if tokens++; calls != 1 {
							t.Errorf("calls with one token: got %d, want 1", calls)
						}
					}
				})
				lines, sessions := 0, map[string]bool{}
				for n, f := range x.all {
					for _, line := range sessionEnded.FindAllStringSubmatch(f.Log.String()[from[n]:], -1) {
						lines++
						sessions[line[1]] = true
					}
				}
				if lines > len(sessions) {
					t.Fatalf("%d lines about %d sessions that ended", lines, len(sessions))
				}
				return lines >= tokens && rows-len(x.keys(t, "portero:row:*")) >= tokens // who is tried beside may have been refused just before
			})
			if tokens == 0 || tokens > 2 {
				t.Errorf("tokens that were used: got %d, want 1", tokens)
			}
			f.toIssuer(t, p.twin().get(t, "/app")) // and may sign in again
		})
	}
}

func answersInParts(t *testing.T, d *doors) {
	x := d.Nodes()
	f := x.all[0]
	cases := []struct {
		name string
		edit func(answer map[string]any)
	}{
		{"no refresh token", func(a map[string]any) { delete(a, "refresh_token") }},
		{"an empty refresh token", func(a map[string]any) { a["refresh_token"] = "" }},
		{"a null refresh token", func(a map[string]any) { a["refresh_token"] = nil }},
		{"no ID token", func(a map[string]any) { delete(a, "id_token") }},
		{"an empty ID token", func(a map[string]any) { a["id_token"] = "" }},
		{"neither", func(a map[string]any) { delete(a, "refresh_token"); delete(a, "id_token") }},
		{"no scope", func(a map[string]any) { delete(a, "scope") }},
	}
	f.own(nil)
	edits, next := map[any]func(map[string]any){}, 0 // :: refresh token → what is done to answers for it
	f.Issuer.Do(func(i *gatewaytest.Issuer) {
		i.EditAnswer = func(answer map[string]any) {
			token := answer["refresh_token"]
			if edit := edits[token]; edit != nil {
				edit(answer)
			} else if next < len(cases) {
				edits[token] = cases[next].edit
				next++
			}
		}
	})
	var people []map[string]any
	for range cases {
		people = append(people, newAlice())
	}
	all := f.spent(t, people...)
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.AccessLife = brief })
	told := func(round int) {
		for i, c := range cases {
			q := all[i].on(x.all[round%2])
			q.Upstream.Forget()
			if a := q.twin().send(t, request{}); a.Status != http.StatusOK {
				t.Errorf("%s, refresh %d: got %s, want 200", c.name, round+1, a)
				continue
			}
			head, _ := q.reached(t)
			saysAlice(t, head)
		}
	}
	calls := f.Issuer.Calls("refresh_token")
	for round := range 3 {
		told(round)
		f.ranOut(t)
	}
	if got := f.Issuer.Calls("refresh_token") - calls; got < 3*len(cases) {
		t.Errorf("refreshes: got %d, want %d", got, 3*len(cases))
	}
}

func changedClaims(t *testing.T, d *doors) {
	x := d.Nodes()
	f := x.all[0]
	set := func(name string, value any) func(map[string]any) {
		return func(claims map[string]any) {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
	}
	cases := []struct {
		name         string
		change       func(claims map[string]any)
		header, told string // what the application learns; "": the session ends
	}{
		{"another role", set("roles", []string{"auditor"}), "X-Auth-Roles", "auditor"},
		{"no role", set("roles", []string{}), "X-Auth-Roles", ""},
		{"another name", set("name", "Alicia"), "X-Auth-Name", "Alicia"},
		{"another address", set("email", "new@example.com"), "X-Auth-Email", "new@example.com"},
		{"an older auth_time", func(c map[string]any) { c["auth_time"], c["name"] = 1, "Alicia" }, "X-Auth-Name", "Alicia"},
		{"another sub", set("sub", "somebody-else"), "", ""},
		{"another case of sub", set("sub", "T8X4L8OHTI1T"), "", ""},
		{"no sub", set("sub", nil), "", ""},
		{"another iss", set("iss", "https://evil.example.com/oidc"), "", ""},
		{"another aud", set("aud", "app-2"), "", ""},
		{"a list of others as aud", set("aud", []string{"app-2", "app-3"}), "", ""},
		{"another nonce", set("nonce", "another"), "", ""},
		{"exp in the past", set("exp", time.Now().Add(-time.Hour).Unix()), "", ""},
	}
	o := f.own(nil)
	var people []map[string]any
	for range cases {
		people = append(people, newAlice())
	}
	all := f.spent(t, people...)
	f.own(o)
	f.Issuer.Do(func(*gatewaytest.Issuer) {
		for i, c := range cases {
			o.change[people[i]["sid"].(string)] = c.change
		}
	})
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for n, f := range x.all {
				p := all[i].on(f).over(n == 1)
				if c.header == "" {
					p.wantOut(t)
					continue
				}
				f.Upstream.Forget()
				if a := p.twin().send(t, request{}); a.Status != http.StatusOK {
					t.Fatalf("got %s, want 200", a)
				}
				head, _ := p.reached(t)
				if got := strings.Join(fields(head)[fold(c.header)], " "); got != c.told {
					t.Errorf("%s at the upstream: got %q, want %q", c.header, got, c.told)
				}
				if c.header == "X-Auth-Roles" { // a role that was taken away counts
					if a := p.twin().send(t, request{Target: "/admin/x"}); a.Status != http.StatusForbidden {
						t.Errorf("/admin without the role: got %s, want 403", a)
					}
					f.nothingReached(t)
				}
			}
		})
	}
}
