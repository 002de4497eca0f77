package logto_test

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"portero/internal/logto"
)

func TestJW12UnknownKeysCauseNoStorm(t *testing.T) {
	t.Parallel()
	rsaKey() // made outside the bubble
	synctest.Test(t, func(t *testing.T) {
		known, unknown := newES384("known"), newES384("unknown")
		i, p := stand(t, known.jwk(nil))
		good, bad := known.token(i.claims(nil), nil), unknown.token(i.claims(nil), nil)
		wantCheck(t, "known key", verify(t, p, good), "")

		release := make(chan struct{})
		i.set(pathKeys, func(w http.ResponseWriter, r *http.Request) {
			<-release
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		storm := func() (wait func() []error) {
			errs := make([]error, 1000)
			var all sync.WaitGroup
			for n := range errs {
				all.Go(func() { errs[n] = verify(t, p, bad) })
			}
			return func() []error { all.Wait(); return errs }
		}

		wait := storm()
		synctest.Wait()
		if got := i.count(pathKeys); got != 2 {
			t.Errorf("1000 tokens of an unknown key: got %d fetches, want the first and one more", got)
		}
		wantCheck(t, "known key meanwhile", verify(t, p, good), "")
		close(release)
		for _, err := range wait() {
			if !errors.Is(err, logto.ErrUnavailable) {
				t.Fatalf("the fetch failed: got error %v, want %v", err, logto.ErrUnavailable)
			}
		}
		i.clock.advance(59 * time.Second)
		for _, err := range storm()() {
			if err == nil {
				t.Fatal("within the minute: got no error")
			}
		}
		if got := i.count(pathKeys); got != 2 {
			t.Errorf("within the minute: got %d fetches, want no more than 2", got)
		}
		wantCheck(t, "known key after a failed fetch", verify(t, p, good), "")

		i.clock.advance(time.Second)
		i.publish(known.jwk(nil))
		for _, err := range storm()() {
			wantCheck(t, "after the minute", err, logto.CheckKey)
		}
		if got := i.count(pathKeys); got != 3 {
			t.Errorf("after the minute: got %d fetches, want 3", got)
		}
	})
}

func TestJW12FirstFetchIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newES384("k1")
		i, p := stand(t, k.jwk(nil))
		token := k.token(i.claims(nil), nil)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { wantCheck(t, "known key", verify(t, p, token), "") })
		}
		all.Wait()
		if d, k := i.count(pathDiscovery), i.count(pathKeys); d != 1 || k != 1 {
			t.Errorf("got %d fetches of discovery and %d of keys, want 1 and 1", d, k)
		}
	})
}

func TestJW13RotationJustBeforeSigning(t *testing.T) {
	t.Parallel()
	before, after := newES384("before"), newRSA("after")
	i, p := serve(t, before.jwk(nil))
	wantCheck(t, "before", verify(t, p, before.token(i.claims(nil), nil)), "")
	i.publish(after.jwk(nil), before.jwk(nil))
	wantCheck(t, "a key that was made a moment ago", verify(t, p, after.token(i.claims(nil), nil)), "")
	wantCheck(t, "the key before it", verify(t, p, before.token(i.claims(nil), nil)), "")
	if got := i.count(pathKeys); got != 2 {
		t.Errorf("got %d fetches, want 2", got)
	}
	// The old key is taken out of the set: once the set is fetched again, it opens nothing.
	i.publish(after.jwk(nil))
	i.clock.advance(time.Minute)
	wantCheck(t, "yet another key", verify(t, p, newES384("another").token(i.claims(nil), nil)), logto.CheckKey)
	wantCheck(t, "a key that was removed", verify(t, p, before.token(i.claims(nil), nil)), logto.CheckKey)
	wantCheck(t, "the key that stays", verify(t, p, after.token(i.claims(nil), nil)), "")
}

func TestJW13OneGoodKeyIsEnough(t *testing.T) {
	t.Parallel()
	good := newES384("good")
	for name, junk := range map[string]any{
		"oct":                 map[string]any{"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
		"OKP":                 map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
		"unknown kty":         map[string]any{"kty": "XYZ", "kid": "x"},
		"unknown curve":       map[string]any{"kty": "EC", "crv": "P-999", "kid": "x", "x": "AA", "y": "AA"},
		"no kty":              map[string]any{"kid": "x"},
		"not on the curve":    good.jwk(map[string]any{"kid": "x", "y": b64(make([]byte, 48))}),
		"broken modulus":      map[string]any{"kty": "RSA", "kid": "x", "n": "!!!", "e": "AQAB"},
		"RSA without n":       map[string]any{"kty": "RSA", "kid": "x", "e": "AQAB"},
		"RSA of 512 bits":     map[string]any{"kty": "RSA", "kid": "x", "n": b64([]byte(strings.Repeat("\xff", 64))), "e": "AQAB"},
		"RSA of 65536 bits":   map[string]any{"kty": "RSA", "kid": "x", "n": b64([]byte(strings.Repeat("\xff", 8192))), "e": "AQAB"},
		"private":             map[string]any{"kty": "EC", "crv": "P-384", "kid": "x", "d": "AA", "x": "AA", "y": "AA"},
		"for encryption":      good.jwk(map[string]any{"use": "enc", "kid": "x"}),
		"key_ops for signing": good.jwk(map[string]any{"key_ops": []string{"sign"}, "kid": "x"}),
		"key_ops no list":     good.jwk(map[string]any{"key_ops": 5, "kid": "x"}),
		"kid no string":       good.jwk(map[string]any{"kid": 5}),
		"alg no string":       good.jwk(map[string]any{"alg": []string{"ES384"}, "kid": "x"}),
		"null":                nil,
		"a number":            5,
		"a string":            "key",
		"a list":              []any{"key"},
	} {
		i, p := stand(t, junk, good.jwk(nil), junk)
		wantCheck(t, name, verify(t, p, good.token(i.claims(nil), nil)), "")
	}
	for name, change := range map[string]map[string]any{
		"x5c list":           {"x5c": []string{"MIIB", "no certificate"}},
		"x5t":                {"x5t": "abc", "x5t#S256": "abc", "x5u": "https://example.com/"},
		"key_ops verify":     {"key_ops": []string{"verify"}},
		"no use":             {"use": nil},
		"unknown members":    {"nbf": 5, "exp": map[string]any{}},
		"no alg":             {"alg": nil},
		"null for an absent": {"crv2": nil, "x5c": nil},
	} {
		i, p := stand(t, good.jwk(change))
		wantCheck(t, name, verify(t, p, good.token(i.claims(nil), nil)), "")
	}
}

func TestSeveralKeysOfOneID(t *testing.T) {
	t.Parallel()
	good, other, r := newES384("same"), newES384("same"), newRSA("same")
	i, p := stand(t, other.jwk(nil), r.jwk(nil), good.jwk(nil))
	wantCheck(t, "one of them signed", verify(t, p, good.token(i.claims(nil), nil)), "")
	wantCheck(t, "the RSA one signed", verify(t, p, r.token(i.claims(nil), nil)), "")
	wantCheck(t, "none of them signed", verify(t, p, newES384("same").token(i.claims(nil), nil)), logto.CheckSignature)
	var many []jwk
	for range 5 {
		many = append(many, newES384("same").jwk(nil))
	}
	i, p = stand(t, append(many, good.jwk(nil))...)
	wantCheck(t, "so many that trying them costs", verify(t, p, good.token(i.claims(nil), nil)), logto.CheckKey)
}

func TestEveryCurveOfItsAlgorithm(t *testing.T) {
	t.Parallel()
	for _, k := range []signer{newEC("256", elliptic.P256()), newES384("384"), newEC("521", elliptic.P521()), newRSA("rsa")} {
		i, p := stand(t, k.jwk(nil))
		wantCheck(t, k.alg(), verify(t, p, k.token(i.claims(nil), nil)), "")
	}
	k := newEC("224", elliptic.P224())
	i, p := stand(t, k.jwk(nil), newES384("384").jwk(nil))
	wantCheck(t, "P-224", verify(t, p, k.raw(`{"alg":"ES256","kid":"224"}`, i.claims(nil), "ES256")), logto.CheckKey)
}

func TestBadKeySets(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	set := string(must(jsonText(map[string]any{"keys": []any{k.jwk(nil)}})))
	tooMany := strings.TrimSuffix(strings.Repeat(set[len(`{"keys":[`):len(set)-2]+",", 101), ",")
	for name, answer := range map[string]http.HandlerFunc{
		"404":              write(404, "application/json", set),
		"201":              write(201, "application/json", set),
		"204":              write(204, "", ""),
		"503":              write(503, "application/json", set),
		"HTML":             write(200, "text/html", "<html>"),
		"JSON as text":     write(200, "text/plain", set),
		"no content type":  write(200, "", set),
		"list":             write(200, "application/json", "[]"),
		"null":             write(200, "application/json", "null"),
		"no keys":          write(200, "application/json", "{}"),
		"keys null":        write(200, "application/json", `{"keys":null}`),
		"keys an object":   write(200, "application/json", `{"keys":{}}`),
		"keys empty":       write(200, "application/json", `{"keys":[]}`),
		"keys all useless": write(200, "application/json", `{"keys":[{"kty":"oct","k":"AA"}]}`),
		"keys twice":       write(200, "application/json", strings.Replace(set, "{", `{"keys":[],`, 1)),
		"KEYS":             write(200, "application/json", strings.Replace(set, `"keys"`, `"KEYS"`, 1)),
		"a tail":           write(200, "application/json", set+"x"),
		"byte order mark":  write(200, "application/json", "\ufeff"+set),
		"101 keys":         write(200, "application/json", `{"keys":[`+tooMany+`]}`),
		"over a megabyte":  write(200, "application/json", set+strings.Repeat(" ", 1<<20)),
		"nested deep":      write(200, "application/json", strings.Replace(set, "{", `{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+",", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, p := stand(t)
			i.set(pathKeys, answer)
			if err := verify(t, p, k.token(i.claims(nil), nil)); !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("got error %v, want %v", err, logto.ErrUnavailable)
			}
			if s := p.Status(); s.Call != "keys" || s.Class == "" || !s.Discovered {
				t.Errorf("got status %+v, want one that names the keys", s)
			}
			// It recovers by itself once Logto does.
			i.publish(k.jwk(nil))
			i.clock.advance(time.Second)
			wantCheck(t, "after Logto recovered", verify(t, p, k.token(i.claims(nil), nil)), "")
			if s := p.Status(); s.Call != "" {
				t.Errorf("got status %+v, want a good one", s)
			}
		})
	}
}

func TestKeysAreKeptWhileLogtoIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newES384("k1")
		i, p := stand(t, k.jwk(nil))
		wantCheck(t, "at first", verify(t, p, k.token(i.claims(nil), nil)), "")
		i.set(pathKeys, write(500, "", ""))
		for hour := range 23 {
			i.clock.advance(time.Hour)
			wantCheck(t, fmt.Sprintf("%d h later", hour+1), verify(t, p, k.token(i.claims(nil), nil)), "")
			synctest.Wait()
		}
		if got := i.count(pathKeys); got < 20 || got > 24 {
			t.Errorf("got %d fetches in 23 h, want about one an hour", got)
		}
		i.clock.advance(time.Hour)
		if err := verify(t, p, k.token(i.claims(nil), nil)); !errors.Is(err, logto.ErrUnavailable) {
			t.Errorf("a day later: got error %v, want %v", err, logto.ErrUnavailable)
		}
		synctest.Wait()
	})
}
