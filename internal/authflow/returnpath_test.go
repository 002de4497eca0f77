package authflow_test

import (
	"net/url"
	"strings"
	"testing"

	"portero/internal/authflow"
	"portero/internal/gatewaytest"
)

func TestParseReturnPath(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "?next", "#frag", "app", "//evil.test", "///evil.test", "////evil.test/..", `/\evil.test`, `\\evil.test`, `/\/evil.test`, `\/evil.test`, `/a\..\..\\evil.test`,
		"https:evil.test", "https:/evil.test", "https:///evil.test", `http:\\evil.test`, "HTTPS://evil.test", "https://gw.test/x",
		"/\t/evil.test", "/\n/evil.test", "ht\ttps://evil.test", "\x01//evil.test", "/%09/evil.test", "/%0a/evil.test", " //evil.test", "%20//evil.test", "\u00a0//evil", "\u2028//evil",
		"https://gw.test@evil.test", "//gw.test%40evil.test", "/ok%0d%0aSet-Cookie:%20x=1", "/ok\r\nSet-Cookie: x=1", "javascript:alert(1)", "data:text/html,x", "java%0ascript:x",
		"/..//evil.test", `/./\evil.test`, "/.//evil.test", "/%2e%2e//evil.test", "/a/..", "/a/%2E%2e/b", "/.", "/a%2f..%2fb", "/a b", "/é", "/%zz", "/%", "/%00", "/%7f", "/a\x7f",
		"/" + strings.Repeat("a", 8<<10), `/%2f/evil"`,
		"/" + strings.Repeat(`"`, 4<<10), // was one, and was none any more once it had been written in full
	} {
		if p, ok := authflow.ParseReturnPath(s); ok || p.String() != "/" {
			t.Errorf("ParseReturnPath(%.60q): got %q, %t, want \"/\", false", s, p, ok)
		}
	}
	for _, s := range []string{
		"/", "/app", "/app?x=//evil#//evil", "/app?next=https://evil.test/", "/a//b", "/a/?", "/%5cevil.test", "/%2f/evil.test", "/%255cevil.test", "/a;b=c", "/a:b@c", "/a%20b?q=%0d%0a",
		"/a?b=%zz;c", "/...", "/.well-known/x", "/a/.../b", "/" + strings.Repeat("a", 8<<10-1), "/@evil.test", "/:80", "/http://evil.test/",
	} {
		if p, ok := authflow.ParseReturnPath(s); !ok || p.String() != s {
			t.Errorf("ParseReturnPath(%.60q): got %.60q, %t, want it as it is, true", s, p, ok)
		}
	}
}

// What leaves is what was checked, written anew: a byte that no path has leaves as its escape.
func TestReturnPathIsWrittenAnew(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{`/a"b`: "/a%22b", "/<x>": "/%3Cx%3E", "/a{b}?q={c}": "/a%7Bb%7D?q={c}", "/a^b`c|d": "/a%5Eb%60c%7Cd"} {
		if p, ok := authflow.ParseReturnPath(s); !ok || p.String() != want {
			t.Errorf("ParseReturnPath(%q): got %q, %t, want %q, true", s, p, ok, want)
		}
	}
}

// FuzzParseReturnPath: wherever the result is resolved, it stays on the origin, and reading it again changes nothing.
func FuzzParseReturnPath(f *testing.F) {
	for _, s := range []string{
		"/", "/app?x=1#y", "//evil.test", `/\evil.test`, "/\t/evil.test", "/%09/evil.test", "/%2f/evil.test", "/%5c%5cevil.test", "/..//evil.test", "/%2e%2e//evil.test", "https:evil.test",
		"https://gw.test@evil.test", "/a\"b%2F..%2F..", "/?//evil.test", "/#//evil.test", "/a?\\evil", "/;//evil.test", "/%", "/a%2f%2fevil\"", "/%2F|", "/[", "/[::1]", "/\u3002", "/%ef%bc%8fevil",
		"/a#%zz", "/a#\"<>`", "/a?\"<>'", "/x:y//z", "/%25%32%66", "/ ", "/*", "*", "/\x00",
	} {
		f.Add(s)
	}
	base, err := url.Parse("https://gw.test/some/page?x")
	if err != nil {
		f.Fatal(err)
	}
	// A browser's own reading, of somebody at some page of ours; without Node browserHost alone stands for it.
	node := gatewaytest.NodeOracle(f, `s => { const u = new URL(s, 'https://gw.test/some/page?x'); return u.origin + ' ' + u.username + ' ' + u.pathname + u.search + u.hash }`)
	f.Fuzz(func(t *testing.T, s string) {
		p, ok := authflow.ParseReturnPath(s)
		out := p.String()
		if !ok && out != "/" {
			t.Fatalf("ParseReturnPath(%q): got %q, which is not one, want \"/\"", s, out)
		}
		for i := range len(out) {
			if out[i] <= ' ' || out[i] >= 0x7f || out[i] == '\\' {
				t.Fatalf("ParseReturnPath(%q): got %q with the byte %#x", s, out, out[i])
			}
		}
		if out[0] != '/' || len(out) > 1 && out[1] == '/' {
			t.Fatalf("ParseReturnPath(%q): got %q, want one slash and then a path", s, out)
		}
		u, err := base.Parse(out)
		if err != nil || u.Scheme != "https" || u.Host != "gw.test" || u.User != nil {
			t.Fatalf("ParseReturnPath(%q): %q leads to %v, %v", s, out, u, err)
		}
		if host := browserHost(out); host != "gw.test" {
			t.Fatalf("ParseReturnPath(%q): a browser takes %q to %q", s, out, host)
		}
		if node != nil {
			if read, ok := node.Ask(t, out); !ok || read != "https://gw.test  "+browserSpelling(out) {
				t.Fatalf("ParseReturnPath(%q): Node reads %q as %q, %t", s, out, read, ok)
			}
		}
		if again, ok := authflow.ParseReturnPath(out); !ok || again.String() != out {
			t.Fatalf("ParseReturnPath(%q): got %q, and of that %q, %t", s, out, again, ok)
		}
		if p.Path() == "" || p.Path()[0] != '/' {
			t.Fatalf("ParseReturnPath(%q): Path is %q", s, p.Path())
		}
	})
}

// browserSpelling is how a browser spells a path of ours: it escapes an apostrophe and less in a query, and in a fragment.
func browserSpelling(out string) string {
	path, fragment, hasFragment := strings.Cut(out, "#")
	path, query, hasQuery := strings.Cut(path, "?")
	if hasQuery && query != "" {
		path += "?" + strings.NewReplacer(`"`, "%22", "'", "%27", "<", "%3C", ">", "%3E").Replace(query)
	}
	if hasFragment {
		path += "#" + strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", "`", "%60").Replace(fragment)
	}
	return path
}

// browserHost is the host that a browser on gw.test goes to for a reference, with the leniencies of the URL standard:
// blanks and controls are trimmed, tabs and line ends deleted, backslashes are slashes, a special scheme needs no slashes,
// and what stands before an @ is no host.
func browserHost(ref string) string {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	end := strings.IndexAny(ref, "?#")
	if end < 0 {
		end = len(ref)
	}
	ref = strings.ReplaceAll(ref[:end], `\`, "/") + ref[end:]
	scheme, rest, ok := strings.Cut(ref, ":")
	switch {
	case ok && scheme != "" && !strings.ContainsAny(scheme, "/?#"):
		switch strings.ToLower(scheme) {
		case "http", "https", "ws", "wss", "ftp":
			rest = "//" + strings.TrimLeft(rest, "/")
		default:
			return scheme + ":"
		}
	case strings.HasPrefix(ref, "//"):
		rest = "//" + strings.TrimLeft(ref, "/")
	default:
		return "gw.test"
	}
	authority := rest[2:]
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	return authority[strings.LastIndexByte(authority, '@')+1:]
}
