package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// silent makes the issuer sign people in without asking, as somebody who signed in at that time.
func silent(s *scene, at time.Time) {
	s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AuthTime = at })
}

// wantFresh fails the test unless r asks for a new sign-in and has made no session.
func wantFresh(t *testing.T, s *scene, r *gatewaytest.Response) {
	t.Helper()
	if got := wantToLogto(t, s.rig, r).Get("prompt"); got != "login consent" {
		t.Fatalf("prompt: got %q, want login consent", got)
	}
	if hasSession(s.rig, s.b) {
		t.Fatal("a session was made")
	}
}

// again asks for the page and comes back from a silent sign-in of that time.
func again(t *testing.T, s *scene, at time.Time) *gatewaytest.Response {
	t.Helper()
	silent(s, at)
	return s.b.Get(atLogto(t, s.rig, s.b, s.asked))
}

func TestFreshAfterSignOut(t *testing.T) {
	t.Parallel()
	for _, sid := range []string{"sid-1", ""} {
		t.Run("sid "+sid, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = sid })
			signedInAt := s.clock.Now()
			s.b.Get(s.back)
			s.clock.Add(time.Minute)
			s.b.Post(s.rig.URL+"/sign-out", nil)
			revoked := len(s.rig.Issuer.Revoked())
			s.clock.Add(time.Minute)

			r := again(t, s, signedInAt)
			wantFresh(t, s, r)
			if got := sessionRows(t, s.rig); got != 0 {
				t.Errorf("rows: got %d, want 0", got)
			}
			silent(s, s.clock.Now())
			wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.asked)
			if got := len(s.rig.Issuer.Revoked()); got != revoked {
				t.Errorf("tokens revoked on the way: got %d, want 0", got-revoked)
			}
		})
	}
}

func TestFreshConcernsOneSID(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	signedInAt := s.clock.Now()
	s.b.Get(s.back)
	s.clock.Add(time.Minute)
	s.b.Post(s.rig.URL+"/sign-out", nil)
	s.rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person["sid"] = "sid-2" })
	wantRedirect(t, again(t, s, signedInAt), s.asked)
}

func TestFreshAfterIdling(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		after string
		fresh bool
	}{{"code", true}, {"silent", false}} {
		t.Run(tt.after, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, &gatewaytest.Options{Session: "store: memory, idle_timeout: 30m, after_idle: " + tt.after})
			signedInAt := s.clock.Now()
			s.b.Get(s.back)
			s.clock.Add(30*time.Minute - time.Second)
			if r := s.b.Get(s.asked); r.StatusCode != http.StatusOK {
				t.Fatalf("just before idling: got %s, want 200", r.Status)
			}
			s.clock.Add(30 * time.Minute)
			silent(s, signedInAt)
			first := s.b.Get(s.asked)
			if got := wantToLogto(t, s.rig, first).Get("prompt"); got != "consent" {
				t.Errorf("prompt of the first request: got %q, want consent", got)
			}
			r := s.b.Get(answered(t, s.rig, s.b, first))
			if !tt.fresh {
				wantRedirect(t, r, s.asked)
				return
			}
			if got := wantToLogto(t, s.rig, r).Get("prompt"); got != "login consent" {
				t.Fatalf("prompt: got %q, want login consent", got)
			}
			if r := twin(t, s.rig, s.b).Get(s.asked); r.StatusCode != http.StatusFound {
				t.Errorf("the page before the code: got %s, want 302", r.Status)
			}
			silent(s, s.clock.Now())
			wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.asked)
		})
	}
}

// The answer to prompt=login counts if it is at most a minute older than the question; else the clocks differ, and the
// person is not sent round in circles.
func TestFreshAnswerTooOld(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		before time.Duration
		good   bool
	}{{0, true}, {60 * time.Second, true}, {61 * time.Second, false}, {time.Hour, false}} {
		t.Run(tt.before.String(), func(t *testing.T) {
			t.Parallel()
			s := newScene(t, nil)
			s.b.Get(s.back)
			s.b.Post(s.rig.URL+"/sign-out", nil)
			s.clock.Add(2 * time.Hour)
			r := again(t, s, s.clock.Now().Add(-2*time.Hour-time.Second))
			wantFresh(t, s, r)
			silent(s, s.clock.Now().Add(-tt.before))
			r = s.b.Get(answered(t, s.rig, s.b, r))
			if tt.good {
				wantRedirect(t, r, s.asked)
				return
			}
			wantPage(t, r, http.StatusBadRequest, headFailed)
			if hasSession(s.rig, s.b) {
				t.Error("a session was made")
			}
			if !strings.Contains(s.rig.Log.String(), "clock") {
				t.Error("the log does not name the clock")
			}
		})
	}
}

// A fresh sign-in is counted apart from the restart: an answer that comes too late still starts again, once.
func TestFreshAndRestart(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.b.Get(s.back)
	signedInAt := s.clock.Now()
	s.clock.Add(time.Second)
	s.b.Post(s.rig.URL+"/sign-out", nil)
	r := again(t, s, signedInAt)
	wantFresh(t, s, r)
	back := answered(t, s.rig, s.b, r)
	s.clock.Add(time.Hour)
	r = s.b.Get(back)
	wantFresh(t, s, r) // started again, and the code is still asked for
	back = answered(t, s.rig, s.b, r)
	s.clock.Add(time.Hour)
	wantPage(t, s.b.Get(back), http.StatusBadRequest, headFailed)
}

// A sign-in older than max_age is no answer either.
func TestFreshOlderThanMaxAge(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	silent(s, s.clock.Now().Add(-14*24*time.Hour-2*time.Minute))
	r := s.b.Get(s.back)
	wantFresh(t, s, r)
	silent(s, s.clock.Now())
	wantRedirect(t, s.b.Get(answered(t, s.rig, s.b, r)), s.asked)
}
