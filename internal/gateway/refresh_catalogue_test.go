package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// RT-05: three gateways together ask as seldom as one does while Logto does not answer, second by second of their clock.
func TestReplicasBackOff(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"500": func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", http.StatusInternalServerError)
			return true
		},
		"429 with Retry-After": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "40")
			gatewaytest.Refuse(w, http.StatusTooManyRequests, "slow_down")
			return true
		},
		"reset after send": cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTrio(t)
			p := x.signIn()
			answerRefresh(x.rigs[0], away)
			x.clock.Add(quick)
			var at []int // seconds at which Logto was asked
			for second := range 60 {
				before := x.issuer.Calls("/oidc/token")
				for i := range x.rigs {
					x.want(p, i, http.StatusOK)
				}
				switch x.issuer.Calls("/oidc/token") - before {
				case 0:
				case 1:
					at = append(at, second)
				default:
					t.Errorf("second %d: more than one token call", second)
				}
				x.clock.Add(time.Second)
			}
			asked, again := len(at), at[min(1, len(at)-1)]
			if strings.Contains(name, "Retry-After") {
				if asked != 2 || again < 40 {
					t.Errorf("asked at %v, want at 0 and not before 40", at)
				}
			} else if asked < 4 || asked > 12 || again > 3 {
				t.Errorf("asked at %v, want within three seconds, while a rotated token is still taken, and then now and then", at)
			}
			x.clock.Add(30 * time.Minute)
			for i := range x.rigs {
				x.want(p, i, http.StatusFound) // refresh_grace is over
			}
			x.issuer.Do(func(i *gatewaytest.Issuer) { i.Answer = x.grants.Answer })
			x.clock.Add(time.Minute)
			for i := range x.rigs {
				x.want(p, i, http.StatusOK)
			}
			x.presented(1)
		})
	}
}

// A secret that is not the application's any more is the operator's mistake, which everybody's refreshes find: the log
// names the key, once a minute.
func TestRefusedApplicationIsToldOnce(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	people := []*person{x.signIn(), x.signIn(), x.signIn(), x.signIn()}
	refuseRefresh(x.rigs[0], http.StatusUnauthorized, "invalid_client")
	x.clock.Add(quick)
	for _, p := range people {
		x.want(p, 0, http.StatusFound)
	}
	told := 0
	for line := range strings.SplitSeq(x.rigs[0].Log.String(), "\n") {
		if strings.Contains(line, `"level":"ERROR"`) && strings.Contains(line, "refresh") {
			told++
			if !strings.Contains(line, "logto.app_secret") || strings.Contains(line, x.issuer.AppSecret) {
				t.Errorf("got %s, want the name of the key and not its value", line)
			}
		}
	}
	if told != 1 {
		t.Errorf("lines about the secret for %d people: got %d, want 1", len(people), told)
	}
	if got := strings.Count(x.rigs[0].Log.String(), `"action":"session-ended"`); got != len(people) {
		t.Errorf("lines about ended sessions: got %d, want one each", got)
	}
}
