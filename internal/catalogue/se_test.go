package catalogue_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var sessions = family{ID: "SE", Title: "Sessions", Attacks: []attack{
	{ID: "SE-01", Name: "fixation by an unknown id", Want: "signing in makes a new id, and the chosen one is never good", Why: "CVE-2024-38513 fiber", Test: unknownID},
	{ID: "SE-02", Name: "fixation by a known id", Want: "signing in makes a new id, the known one is over, and nothing from before is believed",
		Why: "mod_auth_openidc, August 2026", Test: knownID},
	{ID: "SE-03", Name: "sign-ins that race", Want: "each of them leads to a good session, and nobody is signed out", Why: "scs loses one of two changes at once", Test: racingSignIns},
	{ID: "SE-04", Name: "unreadable session", Want: "the browser is told to drop its cookie, the log has a line, and nobody is kept out for good",
		Why: "scs answers 500 for ever; authentik 18063 answered 200", Test: unreadableSession},
	{ID: "SE-05", Name: "hostile store content", Want: "no session, within the usual time and memory", Why: "CVE-2024-34156: deeply nested values end the decoder", Test: hostileContent},
	{ID: "SE-06", Name: "another's data for a key", Want: "noticed, whatever lies under the key", Why: "CVE-2025-29923 go-redis: answers out of order", Test: anothersRow},
	{ID: "SE-07", Name: "idle and absolute end", Want: "to the second, by use and in spite of it; a refresh prolongs neither", Why: "a session that is used can be one that was stolen", Test: sessionEnds},
	{ID: "SE-08", Name: "hostile ids", Want: "no session; the store is not even asked, and knows ids as hashes alone", Why: "CVE-2021-32785 mod_auth_openidc: format strings in the key", Test: hostileIDs},
	{ID: "SE-09", Name: "resurrection by a slow answer", Want: "what was signed out while an answer was under way stays so", Why: "scs with an idle timeout writes the session at the first byte", Test: slowAnswer},
	{ID: "SE-10", Name: "resurrection by a WebSocket", Want: "the socket is closed at the sign-out, and its end brings nothing back", Why: "scs with an idle timeout writes the session when the socket ends", Test: lastingSocket},
	{ID: "SE-11", Name: "resurrection by a refresh", Want: "what the refresh brings is thrown away and taken back", Why: "needs a version and a marker, not a lock", Test: refreshUnderWay},
	{ID: "SE-12", Name: "the store cannot write", Want: "the application's answer and nothing else, or a page of ours and nothing else", Why: "scs writes an error page in front of the protected body", Test: unwritableStore},
	{ID: "SE-13", Name: "a hundred requests at once", Want: "one write", Why: "scs writes at each request", Test: oneWrite},
}}

// chosen are ids that an attacker may think of, the last two in the form of real ones.
func chosen() []string {
	b := make([]byte, 32)
	rand.Read(b)
	return []string{"AAAA", strings.Repeat("A", 43), base64.RawURLEncoding.EncodeToString(b)}
}

func unknownID(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		for _, id := range chosen() {
			rows := w.Sessions(t)
			victim, thief := w.traveller(t), w.traveller(t)
			victim.cookies[w.Cookie()], thief.cookies[w.Cookie()] = id, id
			back := victim.leave(t, "/app")
			victim.cookies[w.Cookie()] = id // whatever the gateway said about it
			seeOther(t, victim.get(t, back), "/app")
			if got := victim.session(); got == id || len(got) != 43 {
				t.Errorf("%s: got the id %q, want a new one", id, got)
			}
			if thief.in(t) || !victim.in(t) || thief.in(t) {
				t.Errorf("%s: it is good after signing in, or the real one is not", id)
			}
			w.rows(t, rows+1)
		}
	})
}

func knownID(t *testing.T, d *doors) {
	d.stranger(t, func(t *testing.T, w way) {
		// A session of the attacker's own, under which the victim signs in.
		thief := w.front.arrive(t, alice)
		rows := w.Sessions(t)
		victim := w.traveller(t)
		victim.cookies[w.Cookie()] = thief.session()
		w.issuer(t, func(i *gatewaytest.Issuer) { i.Person = bob })
		back := victim.leave(t, "/sign-in?return_to=/app&fresh=1")
		seeOther(t, victim.get(t, back), "/app")
		if victim.session() == thief.session() || thief.in(t) {
			t.Error("the id that was known is good after signing in")
		}
		w.Upstream.Forget()
		victim.send(t, request{})
		head, _ := w.reached(t)
		exactly(t, head, "X-Auth-Sub", "bob000000000")
		w.rows(t, rows)

		// Nobody has a session before signing in, so what can be planted is an attempt and a language.
		thief = w.traveller(t)
		for _, target := range []string{"/public/x", "/optional/x", "/_portero/", "/_portero/signed-out", "/_portero/language?lang=es&return_to=/app", "/sign-out"} {
			thief.get(t, target)
		}
		if got := thief.session(); got != "" {
			t.Errorf("before signing in: got the session %q, want none", got)
		}
		thief.leave(t, "/app/evil")
		victim = w.traveller(t)
		victim.cookies = maps.Clone(thief.cookies)
		seeOther(t, victim.get(t, victim.leave(t, "/app")), "/app")
		for name, value := range thief.cookies {
			if victim.session() == value {
				t.Errorf("the session has the value of the planted %s", name)
			}
		}
		if thief.in(t) || !victim.in(t) {
			t.Error("what was planted is good, or the new session is not")
		}
	})
}

func racingSignIns(t *testing.T, d *doors) {
	const tabs = 5
	for _, before := range []string{"signed out", "signed in"} {
		t.Run(before, func(t *testing.T) {
			d.stranger(t, func(t *testing.T, w way) {
				p, fresh := w.traveller(t), ""
				if before == "signed in" {
					p, fresh = w.front.arrive(t, alice).over(w.h2), "&fresh=1"
				}
				var backs []string
				for i := range tabs {
					backs = append(backs, p.leave(t, fmt.Sprintf("/sign-in?return_to=/app/%d%s", i, fresh)))
				}
				old, calls := p.session(), w.tokenCalls()
				var all []*traveller
				var answers [tabs]*gatewaytest.Answer
				var wait sync.WaitGroup
				for i, back := range backs {
					tab := p.twin()
					all = append(all, tab)
					wait.Go(func() { answers[i] = tab.get(t, back) })
				}
				wait.Wait()
				for i, a := range answers {
					seeOther(t, a, fmt.Sprintf("/app/%d", i))
					if all[i].session() == old || !all[i].in(t) {
						t.Errorf("tab %d: the session it was given is not good", i)
					}
				}
				if got := w.tokenCalls() - calls; got != tabs {
					t.Errorf("token calls: got %d, want %d", got, tabs)
				}
				if old != "" && p.in(t) {
					t.Error("the session that was replaced is good")
				}
			})
		})
	}
}

// Over a gateway inside the test, for its clock.
func sessionEnds(t *testing.T, _ *doors) {
	for name, store := range map[string]string{"memory": "store: memory", "file": `store: file, file: {path: "` + t.TempDir() + `/ends.db"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := gatewaytest.NewClock()
			f := unsigned(t, gatewaytest.Options{Clock: clock, Session: store + ", lifetime: 25h, idle_timeout: 30m"})
			const most = 30*time.Minute - time.Second

			idle := f.arrive(t, alice)
			for range 3 {
				clock.Add(most)
				if !idle.in(t) {
					t.Fatal("a second before the idle end: it has ended")
				}
			}
			clock.Add(most + time.Second)
			if idle.in(t) {
				t.Error("at the idle end: it is good")
			}

			used, began := f.arrive(t, alice), clock.Now()
			for clock.Now().Sub(began) < 2*time.Hour {
				clock.Add(time.Minute)
				if !used.in(t) {
					t.Fatalf("used every minute: it ended after %s", clock.Now().Sub(began))
				}
			}
			for clock.Now().Sub(began) < 25*time.Hour-20*time.Minute {
				clock.Add(20 * time.Minute)
				if !used.in(t) {
					t.Fatalf("used every twenty minutes: it ended after %s", clock.Now().Sub(began))
				}
			}
			clock.Add(began.Add(25*time.Hour - time.Second).Sub(clock.Now()))
			if !used.in(t) {
				t.Error("a second before the absolute end: it has ended")
			}
			clock.Add(time.Second)
			if used.in(t) {
				t.Error("at the absolute end: it is good")
			}
			if got := f.Issuer.Calls("refresh_token"); got < 20 {
				t.Errorf("refreshes on the way: got %d, want one an hour", got)
			}
		})
	}
}

// held makes an application that answers when it is told to. It returns what is told of each request, and lets go.
func (f *front) held(t *testing.T, answer string) (reached chan string, release func()) {
	reached, wait := make(chan string, 100), make(chan struct{})
	release = sync.OnceFunc(func() { close(wait) })
	f.Upstream.Say(func(head string) string {
		reached <- head
		<-wait
		return answer
	}, false)
	t.Cleanup(func() {
		release()
		f.Upstream.Say(nil, false)
	})
	return reached, release
}

// ways in which a session ends while something of it is under way, each at the node that is given.
var endings = map[string]func(t *testing.T, p *traveller, person map[string]any){
	"signed out": func(t *testing.T, p *traveller, _ map[string]any) {
		if a := p.twin().post(t, "/sign-out", nil); a.Status != http.StatusSeeOther {
			t.Errorf("signing out: got %s, want 303", a)
		}
	},
	"ended by the issuer": func(t *testing.T, p *traveller, person map[string]any) {
		if a := p.logout(t, p.Issuer.LogoutToken(claiming(map[string]any{"sid": person["sid"]}))); a.Status != http.StatusOK {
			t.Errorf("the logout token: got %s, want 200\n%s", a, a.Body)
		}
	},
}

func slowAnswer(t *testing.T, d *doors) {
	x := d.Nodes()
	for ending, end := range endings {
		for _, h2 := range []bool{false, true} {
			for n := range x.all {
				t.Run(fmt.Sprintf("%s at node %d, HTTP 2 %t", ending, n, h2), func(t *testing.T) {
					who := newAlice()
					p, row := x.arrive(t, who)
					p = p.on(x.all[1]) // which has not seen it: a touch is due
					x.backdate(t, row, 5*time.Minute)
					reached, release := p.held(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
					answered := make(chan *gatewaytest.Answer, 1)
					go func() { answered <- p.over(h2).twin().send(t, request{Target: "/app/slow"}) }()
					<-reached
					end(t, p.on(x.all[n]), who)
					since := time.Now()
					release()
					<-answered
					p.Upstream.Say(nil, false)
					p.on(x.all[n]).wantOut(t)
					for _, f := range x.all {
						p.on(f).outWithin(t, since)
					}
					x.gone(t, row)
				})
			}
		}
	}
}

func lastingSocket(t *testing.T, d *doors) {
	const bound = 2 * time.Second // and as much for a machine that is busy
	x := d.Nodes()
	for ending, end := range endings {
		for n := range x.all {
			t.Run(fmt.Sprintf("%s at node %d", ending, n), func(t *testing.T) {
				who := newAlice()
				p, row := x.arrive(t, who)
				p = p.on(x.all[1])
				x.backdate(t, row, 5*time.Minute)
				p.Upstream.Say(func(string) string {
					return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
				}, false)
				t.Cleanup(func() { p.Upstream.Say(nil, false) })
				c := p.Dial(t)
				c.Send(request{Target: "/app/ws", Lines: fieldsOf("Origin", p.URL, "Connection", "Upgrade", "Upgrade", "websocket",
					"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Cookie", p.jar())}.text(p.host))
				if a := c.Answer("GET"); a.Status != http.StatusSwitchingProtocols {
					t.Fatalf("opening the socket: got %s, want 101", a)
				}
				end(t, p.on(x.all[n]), who)
				since := time.Now()
				io.Copy(io.Discard, c)
				if took := time.Since(since); took > 2*bound {
					t.Errorf("the socket was closed after %s, want two seconds at most", took)
				}
				c.Close()
				p.Upstream.Say(nil, false)
				p.on(x.all[n]).wantOut(t)
				for _, f := range x.all {
					p.on(f).outWithin(t, since)
				}
				x.gone(t, row)
			})
		}
	}
}

func refreshUnderWay(t *testing.T, d *doors) {
	x := d.Nodes()
	for ending, end := range endings {
		for n := range x.all {
			t.Run(fmt.Sprintf("%s at node %d", ending, n), func(t *testing.T) {
				f := x.all[0]
				const life = time.Second
				f.issuer(t, func(i *gatewaytest.Issuer) { i.AccessLife = life })
				granted := f.Issuer.Granted()
				who, old := newAlice(), ""
				f.Issuer.Do(func(i *gatewaytest.Issuer) {
					i.EditAnswer = func(answer map[string]any) {
						if old == "" {
							old = answer["refresh_token"].(string)
						}
					}
				})
				p, row := x.arrive(t, who)
				expired := time.Now().Add(life)
				reached, wait := make(chan struct{}, 10), make(chan struct{})
				release := sync.OnceFunc(func() { close(wait) })
				t.Cleanup(release)
				grants := gatewaytest.NewGrants(f.Issuer) // it is worked off, and its answer is on its way
				f.Issuer.Do(func(i *gatewaytest.Issuer) {
					i.AccessLife = 0
					grants.Deliver = func(string) bool {
						reached <- struct{}{}
						<-wait
						return true
					}
				})
				gatewaytest.Await(t, "the access token has run out", func() bool { return time.Now().After(expired) })
				answered := make(chan *gatewaytest.Answer, 1)
				f.Upstream.Forget()
				go func() { answered <- p.twin().send(t, request{}) }()
				<-reached
				end(t, p.on(x.all[n]), who)
				since := time.Now()
				release()
				f.denied(t, <-answered)
				p.on(x.all[n]).wantOut(t)
				for _, f := range x.all {
					p.on(f).outWithin(t, since)
				}
				x.gone(t, row)
				gatewaytest.Await(t, "what the refresh brought is taken back", func() bool {
					for _, token := range f.Issuer.RevokedSince(granted) {
						if token != old {
							return true
						}
					}
					return false
				})
			})
		}
	}
}

func unwritableStore(t *testing.T, d *doors) {
	x := d.Nodes()
	for name, spoil := range map[string]struct {
		begin, end func()
		status     int
	}{
		"full":    {func() { x.redis.Do("CONFIG", "SET", "maxmemory", "1") }, func() { x.redis.Do("CONFIG", "SET", "maxmemory", "0") }, http.StatusOK},
		"down":    {x.links[1].Cut, x.links[1].Heal, http.StatusServiceUnavailable},
		"stalled": {x.links[1].Stall, x.links[1].Heal, http.StatusServiceUnavailable},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP 2 %t", name, h2), func(t *testing.T) {
				who := newAlice()
				p, row := x.arrive(t, who)
				p = p.on(x.all[1]).over(h2)
				x.backdate(t, row, 5*time.Minute)
				used := x.used(t, row)
				spoil.begin()
				t.Cleanup(spoil.end)
				for range 3 {
					p.Upstream.Forget()
					a := p.twin().send(t, request{})
					if a.Status != spoil.status || a.Err != nil {
						t.Fatalf("got %s (%v), want %d", a, a.Err, spoil.status)
					}
					if spoil.status == http.StatusOK {
						if a.Body != "<!doctype html><title>app</title>the application" {
							t.Errorf("got the body %q, want the application's alone", a.Body)
						}
						head, _ := p.reached(t)
						saysAlice(t, head)
						continue
					}
					if c := a.Header.Get("Set-Cookie"); c != "" {
						t.Errorf("got the cookie %q, want none", c)
					}
					p.noSession(t, a)
					p.nothingReached(t)
				}
				if got := x.used(t, row); got != used {
					t.Errorf("last use in the store: got %s, want %s: the touch was to fail", got, used)
				}
				spoil.end()
				x.ready(t)
				if !p.in(t) {
					t.Error("with the store back: it has ended")
				}
			})
		}
	}
}

func oneWrite(t *testing.T, d *doors) {
	x := d.Nodes()
	for _, h2 := range []bool{false, true} {
		who := newAlice()
		p, row := x.arrive(t, who)
		p = p.on(x.all[1]).over(h2)
		x.backdate(t, row, 5*time.Minute)
		p.Upstream.Forget()
		before := x.calls(t, "setrange")
		late := x.all[1].withoutStore(t)
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if a := p.patient(t, request{}); a.Status != http.StatusOK {
					t.Errorf("got %s, want 200", a)
				}
			})
		}
		wait.Wait()
		writes := x.calls(t, "setrange") - before
		gatewaytest.Await(t, "there was one write, or one more for each answer of the store that came too late", func() bool {
			return writes >= 1 && writes <= 1+x.all[1].withoutStore(t)-late
		})
		if ago := time.Since(x.used(t, row)); ago > time.Minute {
			t.Errorf("HTTP 2 %t: last use in the store: got %s ago", h2, ago)
		}
		if got := len(p.Upstream.Requests()); got != 100 {
			t.Errorf("HTTP 2 %t: requests at the application: got %d, want 100", h2, got)
		}
	}
}

// withoutStore is how many requests were answered 503, as far as the log has them.
func (f *front) withoutStore(t *testing.T) int {
	t.Helper()
	n := 0
	for _, d := range f.decisions(t) {
		if d.Status == http.StatusServiceUnavailable {
			n++
		}
	}
	return n
}

// ready waits until every node says that it is.
func (x *nodes) ready(t *testing.T) {
	t.Helper()
	for _, f := range x.all {
		gatewaytest.Await(t, "it is ready", func() bool { return f.Admin(t, http.MethodGet, "/readyz").StatusCode == http.StatusOK })
	}
}

// calls is how often Redis was given a command, by a script too.
func (x *nodes) calls(t *testing.T, command string) int {
	t.Helper()
	stats, err := x.redis.Client.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, after, ok := strings.Cut(stats, "cmdstat_"+command+":calls="); ok {
		fmt.Sscanf(after, "%d", &n)
	}
	return n
}
