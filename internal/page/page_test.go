package page_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"portero/internal/page"
)

// now is the moment of every test: that of the example in the specification.
func now() time.Time { return time.Date(2026, time.November, 22, 7, 40, 0, 0, time.UTC) }

func newSet(t testing.TB, cfg page.Config) *page.Set {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = now
	}
	set, err := page.New(cfg)
	if err != nil {
		t.Fatalf("building the pages: %v", err)
	}
	return set
}

// branded is a configuration with everything in it.
func branded() page.Config {
	return page.Config{
		Name: "Example Intranet", LogoFile: "testdata/wide.svg", LogoDarkFile: "testdata/square.png",
		Accent: "#7a1fa2", Languages: []string{"en", "es"},
		Support:     page.Support{Name: "Help desk", Email: "help@example.com", URL: "https://help.example.com/", Phone: "+34 900 000 000"},
		HomeURL:     "https://start.example.com/",
		LogtoOrigin: "https://tenant.logto.app", SignInOrigins: []string{"https://start.example.com", "https://wiki.example.com"},
		LanguageCookie: "__Host-portero-lang", SecureCookies: true,
	}
}

// request is a navigation by a browser with that language.
func request(lang string) *http.Request {
	r := httptest.NewRequest("GET", "https://wiki.example.com/reports", nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8")
	r.Header.Set("Accept-Language", lang)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	return r
}

func render(set *page.Set, r *http.Request, p page.Page) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	set.Render(w, r, p)
	return w
}

func parse(t testing.TB, body []byte) *html.Node {
	t.Helper()
	doc, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("parsing a page: %v", err)
	}
	return doc
}

// all are the elements below n that the test accepts, in the order of the source.
func all(n *html.Node, is func(*html.Node) bool) []*html.Node {
	var out []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && is(d) {
			out = append(out, d)
		}
	}
	return out
}

func tag(names ...string) func(*html.Node) bool {
	return func(n *html.Node) bool {
		for _, name := range names {
			if n.Data == name {
				return true
			}
		}
		return false
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func hasClass(n *html.Node, class string) bool {
	return strings.Contains(" "+attr(n, "class")+" ", " "+class+" ")
}

// text is what a reader sees of n, with runs of white space as one.
func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "style" {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func one(t testing.TB, n *html.Node, name string) *html.Node {
	t.Helper()
	found := all(n, tag(name))
	if len(found) != 1 {
		t.Fatalf("%d elements %s, want one", len(found), name)
	}
	return found[0]
}
