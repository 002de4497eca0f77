package authflow

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"portero/internal/logto"
	"portero/internal/seal"
)

// What was sealed once, constant because the fuzzer's processes must agree; it also pins the format.
const (
	sealedState   = "AaC1JJr1Ulf6ChhU32GgXkIjUZ9Tqkfzir6R4wJDSnYZ21yQo2LX3K4qV4P7QTrqh_R8HP9FcVrfyiX7dWIMSflHVQIfwzRBNv7pBA"
	sealedAttempt = "__Host-portero-y6TXDGpltLjGf2GdxTocmw=AaC1JJr1Ulf6teWH3wJ4Abz7iSWnII_EBBrjZAVsie6MuCUKkX5j42ciyUJPPZkIpsLzynkZ-HiGtWM8biZYiIwY_poLpwvqsmWV1mMqDTHVHM2KeknppUrEFPMhWUlQv7ePKVTheLo1pDApp9uqIcfHMHCUIGo7wKGLsCZGiTUhNW-bFr-KVY6WS-3zf2D1KWY"
)

// opener is a flow that can open what was sealed, and nothing else.
func opener(t testing.TB) *Flow {
	t.Helper()
	keys, err := seal.NewKeyRing(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	return &Flow{Keys: keys, ClientID: "app-1", Cookie: "__Host-portero", Secure: true,
		Provider: logto.New(logto.Config{Endpoint: &url.URL{Scheme: "https", Host: "tenant.test", Path: "/"}, AppID: "app-1"})}
}

// FuzzState: no state opens but the one that was sealed, for its host alone, in its one spelling.
func FuzzState(f *testing.F) {
	flow := opener(f)
	if s, err := flow.openState("gw.test", sealedState); err != nil || s.restarts != 1 || !s.noCookie {
		f.Fatalf("the format changed, sign-ins under way are lost: %+v, %v", s, err)
	}
	f.Add("gw.test", sealedState)
	f.Add("other.test", sealedState)
	f.Add("gw.test", sealedState+"=")
	f.Add("gw.test", sealedState[:len(sealedState)-1])
	f.Add("gw.test", strings.ToLower(sealedState))
	f.Add("gw.test", sealedAttempt)
	f.Add("", "")
	f.Fuzz(func(t *testing.T, host, text string) {
		s, err := flow.openState(host, text)
		if (err == nil) != (host == "gw.test" && text == sealedState) || err != nil && s != (state{}) {
			t.Fatalf("openState(%q, %q): got %+v, %v", host, text, s, err)
		}
	})
}

// FuzzAttempts: of whatever cookies a browser brings, no attempt is read but the one that was sealed, under its own name and
// once, and what is to be dropped is ours by name and was there.
func FuzzAttempts(f *testing.F) {
	flow := opener(f)
	name, value, _ := strings.Cut(sealedAttempt, "=")
	for _, seed := range []string{
		sealedAttempt, "a=b; " + sealedAttempt + "; c", sealedAttempt + "; " + sealedAttempt, name + "=x; " + sealedAttempt, sealedAttempt + "; " + name + "=", name + "x=" + value, strings.ToLower(name) + "=" + value,
		"__Host-portero-AAAAAAAAAAAAAAAAAAAAAA=" + value, name + "=\"" + value + "\"", "__Host-portero-lang=es", "__Host-portero-=; __Host-portero-x", name + "=" + value + "=", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookies string) {
		r := &http.Request{Header: http.Header{"Cookie": {cookies}}}
		found, broken := flow.attempts(r, "gw.test")
		if len(found) > 1 || len(found) == 1 && (flow.attemptCookie(found[0].id) != name || found[0].returnPath().String() != "/reports" || strings.Count(cookies, name+"=") != 1) {
			t.Fatalf("attempts of %q: got %+v", cookies, found)
		}
		for _, b := range broken {
			if !strings.HasPrefix(b, "__Host-portero-") || !strings.Contains(cookies, b) {
				t.Fatalf("attempts of %q: %q is to be dropped", cookies, b)
			}
		}
		if elsewhere, _ := flow.attempts(r, "other.test"); len(elsewhere) != 0 {
			t.Fatalf("attempts of %q on another host: got %+v", cookies, elsewhere)
		}
	})
}
