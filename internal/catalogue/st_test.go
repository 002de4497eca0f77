package catalogue_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var states = family{ID: "ST", Title: "States of sign-ins", Attacks: []attack{
	{ID: "ST-01", Name: "quality", Want: "in ten thousand sign-ins no state, nonce or verifier comes twice, each has 128 random bits at least, and the request is always the same: code, S256, the registered redirect URI", Test: stateQuality},
	{ID: "ST-02", Name: "empty state", Want: "400, and the token endpoint is not asked", Why: "CVE-2026-61687: an empty state equals the one of an empty cookie", Test: emptyState},
	{ID: "ST-03", Name: "missing or other state", Want: "400 without a token call; for another browser's state one new sign-in, without a token call either", Why: "CVE-2026-81888", Test: otherState},
	{ID: "ST-04", Name: "replay", Want: "of twenty answers at once one is redeemed and the others wait; afterwards the address leads on to the page", Why: "the state has to be used up atomically", Test: replayedState},
	{ID: "ST-05", Name: "stale", Want: "a second before the attempt's sixty minutes are over it is finished; after them a new one begins, once, and then a page offers to start again", Why: "oauth2-proxy #3369. The clock is moved: a gateway inside the test", Test: staleState},
	{ID: "ST-06", Name: "clean-up", Want: "after success and after failure nothing is left in the browser with which the attempt can be finished, even by a store that has forgotten it", Why: "nonces and verifiers that Envoy left behind", Test: spentAttempts},
	{ID: "ST-07", Name: "many tabs", Want: "eight sign-ins in one browser, finished in reverse order and at once, each return to their own page", Why: "libraries that keep one sign-in for each storage; traefik-forward-auth #113", Test: manyTabs},
	{ID: "ST-08", Name: "another's code", Want: "an attacker's code in a victim's callback makes no session, whether the verifier or the nonce gives it away", Why: "code injection", Test: injectedCode},
	{ID: "ST-09", Name: "mix-up of issuers", Want: "400 for an answer that names another issuer, or none although ours names itself; the attempt is not touched", Why: "RFC 9207", Test: mixedUp},
	{ID: "ST-10", Name: "login CSRF", Want: "the attacker's whole callback signs nobody in: one new sign-in of the victim's own, and a page if that finds no cookie either", Why: "the state is bound to the browser that began", Test: loginCSRF},
	{ID: "ST-11", Name: "session swap", Want: "Bob's sign-in over Alice's session has a new id and nothing of Alice, neither headers nor tokens; her session is over", Why: "libraries that keep the old ID token where the answer has none", Test: sessionSwap},
	{ID: "ST-12", Name: "parameter injection", Want: "the request to the issuer has each of our parameters once and none of the client's", Why: "a library that un-escapes the whole query", Test: injectedParameters},
	{ID: "ST-13", Name: "framing of the sign-in", Want: "no frame shows it, no frame and no form of another site begins one, nothing goes round", Why: "clickjacking; also in Chromium", Test: framedSignIn},
	{ID: "ST-14", Name: "sign-ins without end", Want: "ten thousand requests without cookies leave no row in the store and little in memory", Why: "what anonymous clients cost", Test: endlessSignIns,
		Missing: "429 is not tried: the gateway does not limit rates yet."},
}}

// manySignIns is how many sign-ins one stranger begins where the catalogue says ten thousand.
const manySignIns = 10_000

// begun begins sign-ins over few connections, and gives each answer to see.
func begun(t *testing.T, f *front, target string, n int, see func(a *gatewaytest.Answer)) {
	t.Helper()
	const connections = 4
	answers := make(chan *gatewaytest.Answer, n)
	var wg sync.WaitGroup
	for range connections {
		c := f.Dial(t)
		wg.Go(func() {
			for i := range n / connections {
				c.Send(request{Target: fmt.Sprintf(target, i), Lines: navigation}.text(f.host))
				a := c.Answer("GET")
				answers <- a
				if a.Status == 0 {
					return
				}
			}
		})
	}
	go func() { wg.Wait(); close(answers) }()
	for a := range answers {
		see(a)
	}
}

func stateQuality(t *testing.T, d *doors) {
	const random = 128 // bits
	f := unsigned(t, gatewaytest.Options{TLS: true, Log: "level: warn"})
	seen := map[string]bool{}
	ones := map[string][]int{} // :: parameter → how often each bit was set
	n := 0
	begun(t, f, "/app?%d", manySignIns, func(a *gatewaytest.Answer) {
		n++
		q := f.toIssuer(t, a)
		for _, name := range []string{"state", "nonce", "code_challenge"} {
			v := q.Get(name)
			raw, err := base64.RawURLEncoding.DecodeString(v)
			if err != nil || len(raw)*8 < random || seen[v] {
				t.Fatalf("%s: %q is short, none of ours, or came before", name, v)
			}
			seen[v] = true
			if ones[name] == nil {
				ones[name] = make([]int, len(raw)*8)
			}
			for i := range ones[name] {
				ones[name][i] += int(raw[i/8] >> (i % 8) & 1)
			}
		}
		for name, want := range map[string]string{"response_type": "code", "code_challenge_method": "S256", "redirect_uri": f.URL + "/callback", "client_id": f.Issuer.AppID} {
			if got := q[name]; len(got) != 1 || got[0] != want {
				t.Fatalf("%s: got %q, want %q", name, got, want)
			}
		}
	})
	if n != manySignIns {
		t.Errorf("sign-ins: got %d, want %d", n, manySignIns)
	}
	for name, counts := range ones {
		fair := 0
		for _, c := range counts {
			if c > n*46/100 && c < n*54/100 { // eight standard deviations
				fair++
			}
		}
		if fair < random {
			t.Errorf("%s: %d bits look random, want %d", name, fair, random)
		}
	}
	f.rows(t, 0)

	verifiers := map[string]bool{}
	d.stranger(t, func(t *testing.T, w way) {
		w.issuer(t, func(i *gatewaytest.Issuer) {
			i.Answer = func(_ http.ResponseWriter, r *http.Request) bool {
				if v := r.PostForm.Get("code_verifier"); r.URL.Path == "/oidc/token" {
					if verifiers[v] || len(v) < 43 || len(v) > 128 || strings.Trim(v, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") != "" {
						t.Errorf("code_verifier: got %d characters, or one that came before", len(v))
					}
					verifiers[v] = true
					if got := r.PostForm.Get("redirect_uri"); got != w.URL+"/callback" {
						t.Errorf("redirect_uri of the token call: got %q", got)
					}
				}
				return false
			}
		})
		for range 3 {
			p := w.traveller(t)
			seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
		}
	})
	if len(verifiers) != 9 {
		t.Errorf("verifiers: got %d, want 9", len(verifiers))
	}
}

// refusedCallback fails unless the target is answered with the page sign-in-failed: no token call, no cookie, no row.
func (p *traveller) refusedCallback(t *testing.T, target string) {
	t.Helper()
	calls := p.tokenCalls()
	a := p.get(t, target)
	shows(t, a, http.StatusBadRequest, headFailed)
	if got := p.tokenCalls() - calls; got != 0 {
		t.Errorf("%s: got %d token calls, want none", target, got)
	}
	if got := a.Header.Values("Set-Cookie"); len(got) != 0 {
		t.Errorf("%s: got %q, want no cookie", target, got)
	}
	p.nothingReached(t)
}

func emptyState(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		someone := w.traveller(t)
		rows := w.Sessions(t)
		for _, cookies := range []map[string]string{
			nil,
			{w.Cookie() + "-": ""},
			{w.Cookie() + "-": "x"},
			{w.Cookie() + "-AAAAAAAAAAAAAAAAAAAAAA": ""},
			{w.Cookie() + "-AAAAAAAAAAAAAAAAAAAAAA": "x"},
			{"state": "", "_oauth2_proxy_csrf": "", "OAuthState": ""},
		} {
			for _, target := range []string{"/callback?code=x&state=", "/callback?code=x&state", "/callback?code=x&state=%20", "/_portero/callback?code=x&state="} {
				p := someone.twin()
				maps.Copy(p.cookies, cookies)
				p.refusedCallback(t, target)
			}
		}
		p := someone.twin() // with a sign-in under way
		p.leave(t, "/sign-in?fresh=1")
		p.refusedCallback(t, "/callback?code=x&state=&iss="+url.QueryEscape(w.Issuer.URL+"/oidc"))
		w.rows(t, rows)
	})
}

func otherState(t *testing.T, d *doors) {
	d.each(t, func(t *testing.T, w way) {
		p := w.traveller(t)
		back := p.leave(t, "/sign-in?fresh=1&return_to=/mine")
		state := queryOf(t, back).Get("state")
		flipped := []byte(state)
		flipped[len(flipped)/2] ^= 1
		for _, s := range []string{
			state[:len(state)-1], state[:40], state[1:], state + "A", state + "=", state + " ", " " + state, state + "\n", state + state,
			strings.ToUpper(state), strings.ToLower(state), string(flipped), p.cookies[p.attempts()[0]], "null", "undefined", "0", strings.Repeat("A", len(state)),
		} {
			p.refusedCallback(t, edited(t, back, func(q url.Values) { q.Set("state", s) }))
		}
		p.refusedCallback(t, edited(t, back, func(q url.Values) { q.Del("state") }))
		// A NUL is refused with the target as a whole, before the state is looked at.
		calls := p.tokenCalls()
		if a := p.get(t, edited(t, back, func(q url.Values) { q.Set("state", state+"\x00") })); a.Status != http.StatusBadRequest || p.tokenCalls() != calls {
			t.Errorf("NUL behind the state: got %s with %d token calls, want 400 and none", a, p.tokenCalls()-calls)
		}
		// None of that has touched the attempt.
		seeOther(t, p.get(t, back), "/mine")
	})
	d.stranger(t, func(t *testing.T, w way) {
		// Another browser's: authentic, but nothing here belongs to it.
		victim := w.traveller(t)
		back := victim.leave(t, "/app?1")
		calls, rows := w.tokenCalls(), w.Sessions(t)
		w.toIssuer(t, w.traveller(t).get(t, back))
		busy := w.traveller(t)
		own := busy.leave(t, "/app?2")
		w.toIssuer(t, busy.get(t, back))
		if got := w.tokenCalls() - calls; got != 0 {
			t.Errorf("token calls: got %d, want none", got)
		}
		w.rows(t, rows)
		seeOther(t, busy.get(t, own), "/app?2")
		seeOther(t, victim.get(t, back), "/app?1")
	})
}

func replayedState(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		rows, calls := w.Sessions(t), w.tokenCalls()
		p := w.traveller(t)
		back := p.leave(t, "/reports?q=1")
		const n = 20
		answers, tabs := make([]*gatewaytest.Answer, n), make([]*traveller, n)
		var wg sync.WaitGroup
		for i := range n {
			tabs[i] = p.twin()
			wg.Go(func() { answers[i] = tabs[i].get(t, back) })
		}
		wg.Wait()
		landed, waiting := 0, 0
		for i, a := range answers {
			switch {
			case a.Status == http.StatusSeeOther && a.Header.Get("Location") == "/reports?q=1" && tabs[i].session() != "":
				landed++
				maps.Copy(p.cookies, tabs[i].cookies)
			case a.Status == http.StatusOK && strings.Contains(a.Body, "<title>"+headWaiting) && a.Header.Get("Refresh") == "2" && tabs[i].session() == "":
				waiting++
				if strings.Contains(a.Body, queryOf(t, back).Get("code")) {
					t.Error("the page that waits shows the code")
				}
			default:
				t.Errorf("got %s to %q", a, a.Header.Get("Location"))
			}
		}
		if landed != 1 || waiting != n-1 {
			t.Errorf("got %d landed and %d waiting, want 1 and %d", landed, waiting, n-1)
		}
		for range 3 { // one behind the other: signed in already
			before := p.session()
			seeOther(t, p.get(t, back), "/reports?q=1")
			if p.session() != before {
				t.Error("the session was replaced")
			}
		}
		if got := w.tokenCalls() - calls; got != 1 {
			t.Errorf("token calls: got %d, want 1", got)
		}
		w.rows(t, rows+1)
	})
}

func staleState(t *testing.T, _ *doors) {
	const life = time.Hour
	for _, inTLS := range []bool{true, false} {
		f := newFront(t, gatewaytest.Options{Clock: gatewaytest.NewClock(), TLS: inTLS})
		for _, h2 := range []bool{false, true} {
			if h2 && !inTLS {
				continue
			}
			for _, tt := range []struct {
				after time.Duration
				ok    bool
			}{{life - time.Second, true}, {life, false}, {life + time.Second, false}, {23 * time.Hour, false}} {
				t.Run(fmt.Sprintf("TLS %t, HTTP 2 %t, after %s", inTLS, h2, tt.after), func(t *testing.T) {
					p := way{front: f, h2: h2}.traveller(t)
					back, calls := p.leave(t, "/reports?q=1"), f.tokenCalls()
					f.Clock.Add(tt.after)
					a := p.get(t, back)
					if tt.ok {
						seeOther(t, a, "/reports?q=1")
						return
					}
					again := p.atIssuer(t, a) // a new one begins, by itself
					f.Clock.Add(tt.after)
					late := p.twin()
					a = late.get(t, again)
					shows(t, a, http.StatusBadRequest, headFailed)
					if link := "/_portero/sign-in?return_to=%2Freports%3Fq%3D1"; !strings.Contains(a.Body, link) {
						t.Errorf("the page has no link %s to start again\n%s", link, a.Body)
					}
					if got := f.tokenCalls() - calls; got != 0 || late.session() != "" {
						t.Errorf("got %d token calls and the session %q, want none", got, late.session())
					}
					seeOther(t, p.get(t, p.leave(t, "/_portero/sign-in?return_to=%2Freports%3Fq%3D1")), "/reports?q=1")
				})
			}
		}
	}
}

func spentAttempts(t *testing.T, _ *doors) {
	const memory = "store: memory, secret: " + gatewaytest.SessionSecret
	for _, inTLS := range []bool{true, false} {
		f := unsigned(t, gatewaytest.Options{TLS: inTLS, Session: memory})
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = maps.Clone(alice) })
		type tried struct {
			name        string
			early, late *traveller
			back        string
		}
		var all []tried
		for _, fails := range []struct {
			name   string
			issuer func(*gatewaytest.Issuer)
			edit   func(url.Values)
		}{
			{name: "success"},
			{name: "a nonce that is not ours", issuer: func(i *gatewaytest.Issuer) { i.Edit = func(c map[string]any) { c["nonce"] = "x" } }},
			{name: "an error of the token endpoint", issuer: func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/oidc/token" {
						return false
					}
					gatewaytest.Refuse(w, http.StatusBadRequest, "invalid_request")
					return true
				}
			}},
			{name: "a token endpoint that is away", issuer: func(i *gatewaytest.Issuer) {
				i.Answer = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/oidc/token" {
						return false
					}
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
			}},
			{name: "an error in place of the code", edit: func(q url.Values) { q.Del("code"); q.Set("error", "access_denied") }},
		} {
			t.Run(fmt.Sprintf("TLS %t, %s", inTLS, fails.name), func(t *testing.T) {
				p := way{front: f, h2: inTLS}.traveller(t)
				p.leave(t, "/other")
				others := p.attempts()
				back := p.leave(t, "/app")
				name := slices.DeleteFunc(p.attempts(), func(n string) bool { return slices.Contains(others, n) })[0]
				early := p.twin()
				if fails.issuer != nil {
					f.issuer(t, fails.issuer)
				}
				answer := back
				if fails.edit != nil {
					answer = edited(t, back, fails.edit)
				}
				calls := f.tokenCalls()
				p.get(t, answer)
				if got, want := f.tokenCalls()-calls, map[bool]int{true: 1}[fails.edit == nil]; got != want {
					t.Errorf("token calls: got %d, want %d", got, want)
				}
				if before, after := early.cookies[name], p.cookies[name]; after == before || len(after) >= len(before) {
					t.Errorf("the attempt's cookie still has %d of %d bytes", len(after), len(before))
				}
				if early.cookies[others[0]] != p.cookies[others[0]] {
					t.Error("the cookie of another attempt was changed")
				}
				late := p.twin()
				delete(late.cookies, f.Cookie())
				all = append(all, tried{name: fails.name, early: early, late: late, back: back})
			})
		}
		// A store that has forgotten which states were used: only what the browser holds tells now.
		f.Restart(t)
		for _, tt := range all {
			calls := f.tokenCalls()
			f.toIssuer(t, tt.late.get(t, tt.back))
			if got := f.tokenCalls() - calls; got != 0 {
				t.Errorf("%s: token calls with the spent cookie: got %d, want none", tt.name, got)
			}
			tt.early.get(t, tt.back)
			if got := f.tokenCalls() - calls; got != 1 {
				t.Errorf("%s: token calls with the cookie of before, which shows that the store has forgotten: got %d, want 1", tt.name, got)
			}
		}
	}
}

func manyTabs(t *testing.T, d *doors) {
	const tabs = 8
	d.stranger(t, func(t *testing.T, w way) {
		for _, order := range []string{"in reverse", "at once"} {
			rows, calls := w.Sessions(t), w.tokenCalls()
			p := w.traveller(t)
			var backs []string
			for i := range tabs {
				backs = append(backs, p.leave(t, "/tab/"+strconv.Itoa(i)+"?x=%26y"))
			}
			if order == "in reverse" {
				for i, back := range slices.Backward(backs) {
					seeOther(t, p.get(t, back), "/tab/"+strconv.Itoa(i)+"?x=%26y")
				}
				w.rows(t, rows+1)
			} else {
				var wg sync.WaitGroup
				for i, back := range backs {
					tab := p.twin()
					wg.Go(func() {
						a := tab.get(t, back)
						if a.Status != http.StatusSeeOther || a.Header.Get("Location") != "/tab/"+strconv.Itoa(i)+"?x=%26y" || tab.session() == "" {
							t.Errorf("tab %d: got %s to %q", i, a, a.Header.Get("Location"))
						}
					})
				}
				wg.Wait()
			}
			if got := w.tokenCalls() - calls; got != tabs {
				t.Errorf("%s: token calls: got %d, want %d", order, got, tabs)
			}
		}
	})
}

func endlessSignIns(t *testing.T, _ *doors) {
	f := unsigned(t, gatewaytest.Options{TLS: true, Log: "level: warn"})
	const warmUp, rounds, most = 2000, 3, 8 << 10 // KiB: one for each request would be ten megabytes
	asked, answered := 0, 0
	begin := func(n int) (resident int) {
		begun(t, f, "/app?%d", n, func(a *gatewaytest.Answer) {
			if answered++; a.Status != http.StatusFound {
				t.Fatalf("got %s, want 302", a)
			}
			f.noSession(t, a)
		})
		asked += n
		return residentKB(t, f.Process.PID())
	}
	before := begin(warmUp) // until pools and caches are what they are
	grew := 0
	for range rounds { // a collector that is late makes one round grow, what is kept makes all of them
		after := begin(manySignIns)
		if grew, before = after-before, after; grew <= most {
			break
		}
	}
	if grew > most {
		t.Errorf("memory grew by %d KiB in each of %d rounds of %d requests, want %d at most", grew, rounds, manySignIns, most)
	}
	if answered != asked {
		t.Errorf("answers: got %d, want %d", answered, asked)
	}
	f.rows(t, 0)
	f.nothingReached(t)
}

// residentKB is how much memory a process holds, in KiB. Systems without /proc skip the test.
func residentKB(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		gatewaytest.Lacks(t, "no /proc on this machine")
	}
	for l := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS in /proc")
	return 0
}
