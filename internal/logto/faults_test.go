package logto_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/logto"
	"portero/internal/outbound"
)

func TestIP06RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var stolen atomic.Int32
			thief := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				stolen.Add(1)
				writeJSON(w, 200, tokenAnswer(nil))
			}))
			t.Cleanup(thief.Close)
			redirect := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", thief.URL+"/CANARY")
				w.WriteHeader(status)
			}
			k := newES384("k1")
			for _, path := range []string{pathDiscovery, pathToken, pathKeys, pathUserinfo, pathRevoke} {
				i, p := serve(t, k.jwk(nil))
				i.set(path, redirect)
				for what, call := range map[string]func() error{
					"discovery": func() error { _, err := p.Discover(t.Context()); return err },
					"exchange":  func() error { _, err := exchange(t, p); return err },
					"refresh":   func() error { _, err := p.Refresh(t.Context(), "CANARYrefresh"); return err },
					"keys":      func() error { return verify(t, p, k.token(i.claims(nil), nil)) },
					"userinfo":  func() error { _, err := p.Userinfo(t.Context(), "CANARYaccess", "s"); return err },
					"revoke":    func() error { return p.Revoke(t.Context(), "CANARYrefresh") },
				} {
					err := call()
					if err != nil && strings.Contains(err.Error(), "CANARY") {
						t.Errorf("%s redirects: %s: the error quotes something: %v", path, what, err)
					}
					affected := path == pathDiscovery || strings.HasSuffix(path, map[string]string{
						"exchange": "/token", "refresh": "/token", "keys": "/jwks", "userinfo": "/me", "revoke": "/revocation",
					}[what]) && what != "discovery"
					if affected && (err == nil || what != "keys" && path != pathDiscovery && !errors.Is(err, outbound.ErrRedirect)) {
						t.Errorf("%s redirects: %s: got error %v, want one about the redirect", path, what, err)
					}
				}
			}
			if got := stolen.Load(); got != 0 {
				t.Errorf("got %d requests at the redirect's target, want 0", got)
			}
		})
	}
}

func TestIP07HugeAndOddAnswers(t *testing.T) {
	t.Parallel()
	good := string(must(json.Marshal(tokenAnswer(nil))))
	spaces := []byte(strings.Repeat(" ", 1<<16))
	rows := map[string]http.HandlerFunc{
		"64 MB": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			for range 1024 {
				if _, err := w.Write(spaces); err != nil {
					return
				}
			}
		},
		"chunks without end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for r.Context().Err() == nil {
				if _, err := w.Write(spaces); err != nil {
					return
				}
			}
		},
		"gzip bomb": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 1024 {
				if _, err := z.Write(spaces); err != nil {
					return
				}
			}
			z.Close()
		},
		"just over the limit": write(200, "application/json", good+strings.Repeat(" ", 1<<20)),
		"HTML":                write(200, "text/html; charset=utf-8", "<html><form action=/sign-in>"),
		"HTML that says JSON": write(200, "application/json", "<html>"),
		"JSON that says text": write(200, "text/plain", good),
		"no content type":     write(200, "", good),
		"two content types": func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = []string{"application/json", "text/html"}
			io.WriteString(w, good)
		},
		"broken content type":  write(200, "application/json; charset=\"", good),
		"200 with an error":    write(200, "application/json", `{"error":"invalid_request"}`),
		"201":                  write(201, "application/json", good),
		"202":                  write(202, "application/json", good),
		"204":                  write(204, "", ""),
		"206":                  write(206, "application/json", good),
		"member twice":         write(200, "application/json", strings.Replace(good, "{", `{"access_token":"x",`, 1)),
		"member twice, nested": write(200, "application/json", strings.Replace(good, "{", `{"x":[{"y":1,"y":2}],`, 1)),
		"byte order mark":      write(200, "application/json", "\ufeff"+good),
		"UTF-16":               write(200, "application/json", "{\x00}\x00"),
		"not UTF-8":            write(200, "application/json", strings.Replace(good, "{", "{\"x\":\"\xff\",", 1)),
		"list":                 write(200, "application/json", "["+good+"]"),
		"null":                 write(200, "application/json", "null"),
		"number":               write(200, "application/json", "5"),
		"empty":                write(200, "application/json", ""),
		"cut off":              write(200, "application/json", good[:len(good)-2]),
		"a tail":               write(200, "application/json", good+"{}"),
		"nested deep":          write(200, "application/json", strings.Replace(good, "{", `{"x":`+strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000)+",", 1)),
	}
	for name, answer := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newES384("k1")
			i, p := serve(t, k.jwk(nil))
			i.set(pathToken, answer)
			got, err := exchange(t, p)
			if got != (logto.Tokens{}) || !errors.Is(err, logto.ErrRefused) {
				t.Errorf("Exchange: got %v and error %v, want %v", got, err, logto.ErrRefused)
			}
			i.set(pathUserinfo, answer)
			if data, err := p.Userinfo(t.Context(), "a", "s"); data != nil || !errors.Is(err, logto.ErrRefused) {
				t.Errorf("Userinfo: got %.40s and error %v, want %v", data, err, logto.ErrRefused)
			}
			i.set(pathKeys, answer)
			if err := verify(t, p, k.token(i.claims(nil), nil)); !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("keys: got error %v, want %v", err, logto.ErrUnavailable)
			}
			i.set(pathDiscovery, answer)
			fresh := provider(t, i, nil)
			if m, err := fresh.Discover(t.Context()); m != nil || !errors.Is(err, logto.ErrUnavailable) {
				t.Errorf("Discover: got %v and error %v, want %v", m, err, logto.ErrUnavailable)
			}
		})
	}
}

func TestIP03SlowLogto(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	for _, path := range []string{pathDiscovery, pathToken, pathKeys, pathUserinfo, pathRevoke} {
		for name, slow := range map[string]func(io.Writer, *bufio.Reader){
			"never answers":     func(io.Writer, *bufio.Reader) {},
			"header never ends": func(w io.Writer, _ *bufio.Reader) { io.WriteString(w, "HTTP/1.1 200 OK\r\nX-Slow: ") },
			"body never ends": func(w io.Writer, _ *bufio.Reader) {
				io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
			},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				i, _ := serve(t, k.jwk(nil))
				timeout := 100 * time.Millisecond
				accepted := path == pathRevoke && name == "body never ends"
				if accepted {
					timeout = 0 // the status says all there is to know, at once
				}
				p := provider(t, i, func(c *logto.Config) { c.Client = outbound.New(outbound.Config{Timeout: timeout}) })
				ended := make(chan struct{})
				defer close(ended)
				i.set(path, func(w http.ResponseWriter, r *http.Request) {
					conn, rw, err := http.NewResponseController(w).Hijack()
					if err != nil {
						return
					}
					defer conn.Close()
					slow(conn, rw.Reader)
					<-ended
				})
				start := time.Now()
				err := map[string]func() error{
					pathDiscovery: func() error { _, err := p.Discover(t.Context()); return err },
					pathToken:     func() error { _, err := exchange(t, p); return err },
					pathKeys:      func() error { return verify(t, p, k.token(i.claims(nil), nil)) },
					pathUserinfo:  func() error { _, err := p.Userinfo(t.Context(), "a", "s"); return err },
					pathRevoke:    func() error { return p.Revoke(t.Context(), "r") },
				}[path]()
				if accepted {
					if err != nil {
						t.Errorf("the body of a revocation means nothing: got error %v, want none", err)
					}
					return
				}
				if !errors.Is(err, logto.ErrUnavailable) {
					t.Errorf("got error %v, want %v", err, logto.ErrUnavailable)
				}
				if took := time.Since(start); took > 8*time.Second {
					t.Errorf("got %v, want the deadline of 100ms", took)
				}
				if s := p.Status(); s.Class != "timeout" {
					t.Errorf("got status %+v, want a timeout", s)
				}
			})
		}
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for _, path := range []string{pathToken, pathUserinfo, pathRevoke} {
		i, p := serve(t, newES384("k1").jwk(nil))
		if _, err := p.Discover(t.Context()); err != nil {
			t.Fatal(err)
		}
		arrived, ended := make(chan struct{}), make(chan struct{})
		i.set(path, func(http.ResponseWriter, *http.Request) { close(arrived); <-ended })
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-arrived; leave() }()
		err := map[string]func() error{
			pathToken:    func() error { _, err := p.Exchange(ctx, "c", "https://app.example.com/callback", "v"); return err },
			pathUserinfo: func() error { _, err := p.Userinfo(ctx, "a", "s"); return err },
			pathRevoke:   func() error { return p.Revoke(ctx, "r") },
		}[path]()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want %v", path, err, context.Canceled)
		}
		if s := p.Status(); s.Class != "" {
			t.Errorf("%s: got status %+v, want none: a person who leaves says nothing about Logto", path, s)
		}
		close(ended)
	}
}

func TestNoAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	i, p := serve(t, newES384("k1").jwk(nil))
	if _, err := p.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	hangUp := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	halfway := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"access_token":`)
		panic(http.ErrAbortHandler)
	}
	for name, h := range map[string]http.HandlerFunc{"hangs up": hangUp, "hangs up halfway": halfway} {
		i.set(pathToken, h)
		if _, err := exchange(t, p); !errors.Is(err, logto.ErrUnavailable) {
			t.Errorf("%s: got error %v, want %v", name, err, logto.ErrUnavailable)
		}
	}
	nobody, _ := url.Parse("http://127.0.0.1:1/")
	down := logto.New(logto.Config{Endpoint: nobody, AppID: appID, Client: outbound.New(outbound.Config{})})
	if _, err := exchange(t, down); !errors.Is(err, logto.ErrUnavailable) {
		t.Errorf("nobody listens: got error %v, want %v", err, logto.ErrUnavailable)
	}
	if s := down.Status(); s.Discovered || s.Call != "discovery" || s.Class != "unreachable" {
		t.Errorf("nobody listens: got status %+v, want discovery unreachable", s)
	}
}

// A hostile or broken server sends back everything it was sent, wherever it can.
func TestNoSecretComesBackInAnErrorOrALog(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	echo := func(status int, contentType string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			sent := string(body) + r.Header.Get("Authorization") + "CANARY"
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("WWW-Authenticate", sent)
			w.Header().Set("Location", "/"+sent)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(map[string]string{
				"error": sent, "error_description": sent, "access_token": sent + "\n", "id_token": sent, "token_type": sent, "sub": sent, "issuer": sent,
			})
		}
	}
	raw := func(format string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, format, string(body)+r.Header.Get("Authorization")+"CANARY")
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"200 malformed": echo(200, "application/json"), "200 of CANARY": echo(200, "text/CANARY"), "302": echo(302, "text/html"),
		"400": echo(400, "application/json"), "401": echo(401, "application/json"), "403": echo(403, "application/json"), "500": echo(500, "application/json"),
		"status line": raw("%s\r\n\r\n"), "status text": raw("HTTP/1.1 400 %s\r\nContent-Length: 0\r\n\r\n"), "header": raw("HTTP/1.1 200 OK\r\n%s\r\n\r\n"),
		"length": raw("HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n"), "chunk": raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s"),
		"JSON text": raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n%s"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out logs
			for _, path := range []string{pathDiscovery, pathKeys, pathToken, pathUserinfo, pathRevoke} {
				i, _ := serve(t, k.jwk(nil))
				p := provider(t, i, func(c *logto.Config) { c.Log = out.logger() })
				i.set(path, answer)
				token := k.token(i.claims(map[string]any{"note": "CANARY"}), map[string]any{"kid": "CANARY"})
				errs := map[string]error{"verify": verify(t, p, token)}
				_, errs["discover"] = p.Discover(t.Context())
				_, errs["exchange"] = exchange(t, p)
				_, errs["refresh"] = p.Refresh(t.Context(), "CANARYrefresh")
				_, errs["userinfo"] = p.Userinfo(t.Context(), "CANARYaccess", "CANARYsubject")
				errs["revoke"] = p.Revoke(t.Context(), "CANARYrefresh")
				for call, err := range errs {
					for ; err != nil; err = errors.Unwrap(err) {
						if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "CANARY") {
							t.Errorf("%s: %s: the error holds a secret: %s", path, call, text)
						}
					}
				}
			}
			if text := out.String(); strings.Contains(text, "CANARY") {
				t.Errorf("the log holds a secret:\n%s", text)
			}
		})
	}
}

func TestTokenRefusalsQuoteNothing(t *testing.T) {
	t.Parallel()
	k := newES384("k1")
	i, p := stand(t, k.jwk(nil))
	for _, change := range []map[string]any{
		{"iss": "CANARY"}, {"aud": "CANARY"}, {"aud": []string{appID}, "azp": "CANARY"}, {"sub": "CANARY\n"}, {"nonce": "CANARY"}, {"exp": "CANARY"},
		{"iat": "CANARY"}, {"nbf": "CANARY"}, {"auth_time": "CANARY"}, {"at_hash": "CANARY"},
	} {
		_, err := p.Verify(t.Context(), k.token(i.claims(change), nil), logto.Expect{Nonce: "the-nonce", AccessToken: "CANARY", Subject: "x"})
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v: got error %v, want one that quotes nothing", change, err)
		}
	}
	for _, header := range []map[string]any{{"alg": "CANARY"}, {"kid": "CANARY"}, {"typ": "CANARY"}, {"jku": "CANARY"}} {
		err := verify(t, p, k.token(i.claims(nil), header))
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%v: got error %v, want one that quotes nothing", header, err)
		}
	}
}
