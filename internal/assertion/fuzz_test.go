package assertion_test

import (
	"encoding/base64"
	"fmt"
	"log"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"portero/internal/assertion"
	"portero/internal/identity"

	"golang.org/x/net/http/httpguts"
)

// cgi is the variable that CGI, WSGI, Rack and PHP make of a header name.
func cgi(name string) string {
	return "HTTP_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z' || '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name)
}

// FuzzStrip: no header survives that an application would take for one of ours, and no other is touched for its
// spelling alone.
func FuzzStrip(f *testing.F) {
	set := newSet(f, append(assertion.DefaultHeaders(), authHeaders...))
	for _, seed := range []string{"X_Auth_Email", "X.Forwarded.User", "x-auth-tenant", "Accept", "X--Auth-Email", "Content_Length", strings.Repeat("X-", 60), "REMOTE_USER"} {
		f.Add(seed)
	}
	ours := map[string]bool{}
	for _, name := range set.Names() {
		ours[cgi(name)] = true
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !httpguts.ValidHeaderFieldName(name) {
			return
		}
		h := http.Header{name: {"evil"}}
		set.Apply(h, nil)
		if ours[cgi(name)] && len(h) != 0 {
			t.Errorf("%q survives and is %s to an application", name, cgi(name))
		}
		if dashes := strings.ReplaceAll(cgi(name)[5:], "_", "-"); assertion.Fold(name) != strings.ToLower(dashes) {
			t.Errorf("Fold(%q) = %q, want %q", name, assertion.Fold(name), strings.ToLower(dashes))
		}
		if folded := assertion.Fold(name); len(h) == 1 && set.Strips(folded) && !strings.HasPrefix(folded, "content-") && folded != "transfer-encoding" {
			t.Errorf("%q survives, %q does not", name, folded)
		}
	})
}

// FuzzValue: a value is legal in a header, arrives as it was sent, and can be undone; nothing else is said by it.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{"ann", "José 张 😀", "a\r\nb", " a ", "100%", "a,b", "=?utf-8?q?x?=", "\u202e", strings.Repeat("é", 99), "\xff"} {
		f.Add(seed, seed)
	}
	var headers []assertion.Header
	encodings := []assertion.Encoding{assertion.Strict, assertion.Percent, assertion.Base64, assertion.RFC2047}
	for _, e := range encodings {
		headers = append(headers, assertion.Header{Name: "X-Text-" + e.String(), Claims: []string{"v"}, Encoding: e},
			assertion.Header{Name: "X-List-" + e.String(), Claims: []string{"l"}, Encoding: e, Join: ","})
	}
	set := newSet(f, headers)
	undo := map[assertion.Encoding]func(string) (string, error){
		assertion.Strict:  func(s string) (string, error) { return s, nil },
		assertion.Percent: url.PathUnescape,
		assertion.Base64:  func(s string) (string, error) { b, err := base64.StdEncoding.DecodeString(s); return string(b), err },
		assertion.RFC2047: new(mime.WordDecoder).DecodeHeader,
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		h := http.Header{}
		list := slices.DeleteFunc([]string{a, b}, func(s string) bool { return s == "" })
		omitted := strings.Join(set.Apply(h, &identity.Identity{Subject: "u", Claims: identity.NewClaimSet(identity.Claims{"v": a, "l": list})}), "\n")
		for _, e := range encodings {
			key := http.CanonicalHeaderKey("X-Text-" + e.String())
			got := h.Get(key)
			if !httpguts.ValidHeaderFieldValue(got) || strings.TrimSpace(got) != got || len(got) > 4096 {
				t.Fatalf("%v of %q is no header value: %q", e, a, got)
			}
			if (got == "" && a != "") != strings.Contains(omitted, key) {
				t.Fatalf("%v of %q is %q; omitted %q", e, a, got, omitted)
			}
			if back, err := undo[e](got); got != "" && (err != nil || back != a) {
				t.Fatalf("%v of %q is %q, read back %q, %v", e, a, got, back, err)
			}
			key = http.CanonicalHeaderKey("X-List-" + e.String())
			if h.Get(key) == "" {
				continue
			}
			sent := 0
			for element := range strings.SplitSeq(h.Get(key), ",") {
				back, err := undo[e](element)
				if err != nil || !slices.Contains(list, back) {
					t.Fatalf("%v of %q has the element %q, which was not there (%v)", e, list, back, err)
				}
				sent++
			}
			if sent != len(list) && !strings.Contains(omitted, key) {
				t.Fatalf("%v of %q sends %d elements and reports nothing", e, list, sent)
			}
		}
	})
}

func BenchmarkApply(b *testing.B) {
	set := newSet(b, assertion.DefaultHeaders())
	id := person(b, `{"sub":"u1","email":"ann@corp.com","email_verified":true,"name":"Ann Lee","username":"ann","roles":["admin","dev"]}`)
	h := http.Header{}
	for _, name := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Cookie", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform",
		"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Upgrade-Insecure-Requests", "User-Agent"} {
		h.Set(name, "x")
	}
	b.ReportAllocs()
	for b.Loop() {
		set.Apply(h, id) // removes what the round before has set
	}
}

func ExampleSet_Apply() {
	set, err := assertion.NewSet(assertion.DefaultHeaders())
	if err != nil {
		log.Fatal(err)
	}
	request := http.Header{"Accept": {"text/html"}, "X_forwarded_email": {"root@example.com"}, "X-Forwarded-Groups": {"admin"}}
	set.Apply(request, &identity.Identity{Subject: "u1", Email: "ann@example.com", Name: "José"})
	for _, name := range slices.Sorted(maps.Keys(request)) {
		fmt.Println(name, request[name])
	}
	// Output:
	// Accept [text/html]
	// X-Forwarded-Email [ann@example.com]
	// X-Forwarded-Name [Jos%C3%A9]
	// X-Forwarded-Preferred-Username [ann@example.com]
	// X-Forwarded-User [u1]
}
