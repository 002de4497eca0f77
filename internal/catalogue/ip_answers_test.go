package catalogue_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

func oddAnswers(t *testing.T, d *doors) {
	const good = `{"access_token":"` + gatewaytest.Canary + `access","id_token":"` + gatewaytest.Canary + `id","token_type":"Bearer","expires_in":3600,"sub":"t8x4l8ohti1t","keys":[]}`
	const kind, endless = "application/json", "headers without end"
	spaces := []byte(strings.Repeat(" ", 1<<16))
	var written atomic.Int64 // of the answers that are huge
	says := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	within := func(more string) string { return strings.Replace(good, "{", "{"+more, 1) }
	rows := map[string]http.HandlerFunc{
		"64 MB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			for range 1024 {
				n, err := w.Write(spaces)
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"chunks without end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			io.WriteString(w, "{")
			for r.Context().Err() == nil {
				n, err := w.Write(spaces)
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 1024 {
				z.Write(spaces)
			}
			z.Close()
		},
		endless: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for n := range 2000 {
				w.Header().Set(fmt.Sprintf("X-%d", n), strings.Repeat("x", 1000))
			}
			io.WriteString(w, good)
		},
		"just over the limit": says(200, kind, good+strings.Repeat(" ", 1<<20)),
		"HTML":                says(200, "text/html; charset=utf-8", "<html><form action=/sign-in>"),
		"HTML called JSON":    says(200, kind, "<html>"),
		"JSON called text":    says(200, "text/plain", good),
		"two content types": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{kind, "text/html"}
			io.WriteString(w, good)
		},
		"broken content type":  says(200, `application/json; charset="`, good),
		"200 with an error":    says(200, kind, `{"error":"invalid_request","error_description":"`+gatewaytest.Canary+`x"}`),
		"201":                  says(201, kind, good),
		"202":                  says(202, kind, good),
		"204":                  says(204, kind, ""),
		"206":                  says(206, kind, good),
		"member twice":         says(200, kind, within(`"access_token":"x",`)),
		"member twice, nested": says(200, kind, within(`"x":[{"y":1,"y":2}],`)),
		"byte order mark":      says(200, kind, "\ufeff"+good),
		"UTF-16":               says(200, kind, "{\x00}\x00"),
		"not UTF-8":            says(200, kind, within("\"x\":\"\xff\",")),
		"list":                 says(200, kind, "["+good+"]"),
		"null":                 says(200, kind, "null"),
		"number":               says(200, kind, "5"),
		"empty":                says(200, kind, ""),
		"cut off":              says(200, kind, good[:len(good)-2]),
		"a tail":               says(200, kind, good+"{}"),
		"nested deep":          says(200, kind, within(`"x":`+strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000)+",")),
	}
	names := slices.Sorted(maps.Keys(rows))
	d.each(t, func(t *testing.T, w way) {
		w.issuer(t, func(*gatewaytest.Issuer) {})
		p := w.traveller(t)
		from, count := len(w.Log.String()), w.Sessions(t)
		var want []idToken
		for _, name := range share(w, names) {
			w.Issuer.Do(at(pathToken, rows[name]))
			before, calls := p.session(), w.tokenCalls()
			a := p.get(t, p.leave(t, "/sign-in?fresh=1&return_to=/app"))
			if name == endless { // no answer can be read at all
				w.unavailable(t, name, a)
				p.forgetAttempts()
				continue
			}
			if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<title>"+headFailed) || p.session() != before || w.tokenCalls()-calls != 1 {
				t.Errorf("token: %s: got %s after %d token calls, want 400 with %q after one", name, a, w.tokenCalls()-calls, headFailed)
			}
			w.noSession(t, a)
			w.nothingReached(t)
			p.forgetAttempts()
			want = append(want, idToken{name: name, fails: "refused by Logto: token endpoint"})
		}
		w.rows(t, count)
		w.failures(t, from, want)
	})
	f := forgetful(t)
	for _, name := range names {
		for _, path := range []string{pathMetadata, pathKeys} {
			f.Issuer.Do(at(path, rows[name]))
			f.Hangup(t)
			p := way{front: f}.traveller(t)
			if path == pathMetadata {
				f.unavailable(t, path+": "+name, p.get(t, "/app"))
			} else {
				f.unavailable(t, path+": "+name, p.get(t, p.leave(t, "/app")))
			}
		}
	}
	f.works(t, "after all that")
	// Sixteen huge answers; beside the megabyte that is read, buffers of the system hold some.
	const most = 16 * 8 << 20
	if got := written.Load(); got > most {
		t.Errorf("bytes of huge answers that went out: got %d, want %d at most", got, most)
	}
}

func answerVariants(t *testing.T, d *doors) {
	merged := func(change map[string]any) func(map[string]any) {
		return func(answer map[string]any) { amended(answer, change) }
	}
	var bad []map[string]any
	for name, values := range map[string][]any{
		"id_token":      {nil, null, "", 5, map[string]any{}, []string{"a.b.c"}},
		"access_token":  {nil, null, "", 5, "a\r\nX-Evil: 1", "\u00e4", strings.Repeat("a", 100<<10)},
		"token_type":    {nil, null, "", "DPoP", "mac", "N_A", 5, "Bearer "},
		"refresh_token": {5, []string{"x"}, "a\nb"},
		"scope":         {5, "a\nb"},
	} {
		for _, v := range values {
			bad = append(bad, map[string]any{name: v})
		}
	}
	bad = append(bad, map[string]any{"access_token": nil, "ACCESS_TOKEN": "x"}, map[string]any{"id_token": nil, "ID_TOKEN": "a.b.c"})
	d.each(t, func(t *testing.T, w way) {
		w.issuer(t, func(*gatewaytest.Issuer) {})
		p := w.traveller(t)
		count := w.Sessions(t)
		for _, change := range bad {
			w.Issuer.Do(func(i *gatewaytest.Issuer) { i.EditAnswer = merged(change) })
			before := p.session()
			a := p.get(t, p.leave(t, "/sign-in?fresh=1&return_to=/app"))
			if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<title>"+headFailed) || p.session() != before {
				t.Errorf("%.60v: got %s, want 400 with %q", change, a, headFailed)
			}
			w.noSession(t, a)
			p.forgetAttempts()
		}
		w.nothingReached(t)
		w.rows(t, count)
	})

	// How long an answer is good for, seen by when it is refreshed.
	f := unsigned(t, gatewaytest.Options{Clock: gatewaytest.NewClock(), Session: "store: memory, idle_timeout: 0s"})
	f.issuer(t, func(*gatewaytest.Issuer) {})
	for _, x := range []struct {
		change map[string]any
		want   time.Duration
	}{
		{nil, time.Hour},
		{map[string]any{"expires_in": nil}, time.Hour},
		{map[string]any{"expires_in": null}, time.Hour},
		{map[string]any{"expires_in": "3600"}, time.Hour},
		{map[string]any{"expires_in": "600"}, 10 * time.Minute},
		{map[string]any{"expires_in": "soon"}, time.Hour},
		{map[string]any{"expires_in": ""}, time.Hour},
		{map[string]any{"expires_in": map[string]any{}}, time.Hour},
		{map[string]any{"expires_in": true}, time.Hour},
		{map[string]any{"expires_in": "NaN"}, time.Hour},
		{map[string]any{"expires_in": 59.9}, 59 * time.Second},
		{map[string]any{"expires_in": -5}, time.Second},
		{map[string]any{"expires_in": 0}, time.Second},
		{map[string]any{"expires_in": number("1e12")}, 24 * time.Hour},
		{map[string]any{"expires_in": number("1e999")}, 24 * time.Hour},
		{map[string]any{"token_type": "bEaReR"}, time.Hour},
		{map[string]any{"scope": nil}, time.Hour},
		{map[string]any{"ACCESS_TOKEN": "x", "Expires_In": 5, "Token_Type": "mac"}, time.Hour},
	} {
		f.Issuer.Do(func(i *gatewaytest.Issuer) { i.EditAnswer, i.Person = merged(x.change), maps.Clone(alice) })
		p := way{front: f}.traveller(t)
		seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
		before := f.Issuer.Calls("refresh_token")
		fifth := x.want / 5
		for _, step := range []struct {
			after time.Duration
			want  int
		}{{4*fifth - time.Millisecond, 0}, {fifth + time.Second, 1}} {
			f.Clock.Add(step.after)
			if a := p.get(t, "/app"); a.Status != http.StatusOK {
				t.Errorf("%v after %s: got %s, want 200", x.change, step.after, a)
			}
			if got := f.Issuer.Calls("refresh_token") - before; got != step.want {
				t.Errorf("%v after %s: got %d refreshes, want %d", x.change, step.after, got, step.want)
			}
		}
	}

	// Without a refresh token the session lasts as long as the access token.
	f.Issuer.Do(func(i *gatewaytest.Issuer) { i.EditAnswer = merged(map[string]any{"refresh_token": nil}) })
	p := way{front: f}.traveller(t)
	seeOther(t, p.get(t, p.leave(t, "/app")), "/app")
	f.Clock.Add(time.Hour - time.Second)
	if a := p.get(t, "/app"); a.Status != http.StatusOK {
		t.Errorf("without a refresh token, before the end of the access token: got %s, want 200", a)
	}
	f.Clock.Add(time.Second)
	f.toIssuer(t, p.get(t, "/app"))
}
