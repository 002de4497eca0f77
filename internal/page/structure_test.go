package page_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/page"
)

// eachSample runs the test on every page of a rich and of a bare configuration, in
// both languages.
func eachSample(t *testing.T, test func(t *testing.T, lang string, s page.Sample, set *page.Set)) {
	t.Helper()
	bare := page.Config{Demo: true}
	for name, set := range map[string]*page.Set{"branded": newSet(t, branded()), "bare": newSet(t, bare)} {
		for _, lang := range []string{"en", "es"} {
			for _, s := range set.Samples(lang) {
				t.Run(name+"/"+s.Name+"/"+lang, func(t *testing.T) {
					t.Parallel()
					test(t, lang, s, set)
				})
			}
		}
	}
}

func TestSkeletonOfEveryPage(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		w := render(set, request(lang), s.Page)
		doc := parse(t, w.Body.Bytes())
		root := one(t, doc, "html")
		if got := attr(root, "lang"); got != lang || w.Header().Get("Content-Language") != lang {
			t.Errorf("lang %q and Content-Language %q, want %q", got, w.Header().Get("Content-Language"), lang)
		}
		body := one(t, doc, "body")
		var order []string
		for child := range body.ChildNodes() {
			if child.Type == html.ElementNode {
				order = append(order, child.Data)
			}
		}
		if got := strings.Join(order, " "); got != "header main footer" {
			t.Errorf("body has %q, want header, main and footer", got)
		}
		heading := text(one(t, one(t, body, "main"), "h1"))
		if strings.HasSuffix(heading, ".") || heading == "" {
			t.Errorf("heading %q is empty or has a full stop", heading)
		}
		title := text(one(t, doc, "title"))
		if title != heading && !strings.HasPrefix(title, heading+" · ") {
			t.Errorf("title %q does not say the heading %q first", title, heading)
		}
		last := 0
		for _, h := range all(body, tag("h1", "h2", "h3", "h4", "h5", "h6")) {
			level := int(h.Data[1] - '0')
			if level > last+1 {
				t.Errorf("%s follows a heading of level %d", h.Data, last)
			}
			last = level
		}
		for _, a := range all(body, tag("a")) {
			if attr(a, "href") == "" || strings.Contains(attr(a, "href"), "ZgotmplZ") {
				t.Errorf("link %q leads to %q", text(a), attr(a, "href"))
			}
			if strings.Contains(attr(a, "href"), "/language?") && (attr(a, "lang") == lang || attr(a, "lang") != attr(a, "hreflang")) {
				t.Errorf("the language link has lang %q and hreflang %q", attr(a, "lang"), attr(a, "hreflang"))
			}
		}
		for _, f := range all(body, tag("form")) {
			if attr(f, "method") != "post" || len(all(f, tag("button"))) != 1 {
				t.Errorf("form to %q posts %q with %d buttons", attr(f, "action"), attr(f, "method"), len(all(f, tag("button"))))
			}
		}
		for _, in := range all(body, tag("input")) {
			if attr(in, "type") != "hidden" {
				t.Errorf("field %q has no label", attr(in, "name"))
			}
		}
		for _, img := range all(body, tag("img")) {
			if attr(img, "width") == "" || attr(img, "height") != "32" || attr(img, "alt") != "Example Intranet" {
				t.Errorf("logo has width %q, height %q, text %q", attr(img, "width"), attr(img, "height"), attr(img, "alt"))
			}
		}
	})
}

func TestPrimaryComesFirstAndTheSupportLineLast(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		main := one(t, parse(t, render(set, request(lang), s.Page).Body.Bytes()), "main")
		for _, row := range all(main, func(n *html.Node) bool { return hasClass(n, "actions") }) {
			buttons := all(row, func(n *html.Node) bool { return n.Data == "button" || hasClass(n, "button") })
			if len(buttons) == 0 || len(buttons) > 2 {
				t.Errorf("%d buttons together", len(buttons))
			}
			for i, b := range buttons {
				if i > 0 && !hasClass(b, "quiet") {
					t.Errorf("button %q stands second and is not quiet", text(b))
				}
			}
		}
		var last *html.Node
		for child := range main.ChildNodes() {
			if child.Type == html.ElementNode {
				last = child
			}
		}
		codes := all(main, func(n *html.Node) bool { return hasClass(n, "code") })
		if s.Page.Code == "" || s.Page.ID == page.UnknownHost {
			if len(codes) > 0 {
				t.Error("a support code on a page without trouble")
			}
			return
		}
		if !hasClass(last, "support") || len(codes) != 1 || text(codes[0]) != s.Page.Code {
			t.Errorf("the last thing in main is %q, want the support line", text(last))
		}
		if codes[0].Parent.Data == "a" {
			if got := attr(codes[0].Parent, "href"); got != "mailto:help@example.com?subject=7K3F-Q9XM" {
				t.Errorf("the code leads to %q, want a mail whose subject is the code alone", got)
			}
		}
	})
}

func TestNoScriptAndNothingInline(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		body := render(set, request(lang), s.Page).Body.Bytes()
		doc := parse(t, body)
		for _, n := range all(doc, func(*html.Node) bool { return true }) {
			if tag("script", "iframe", "object", "embed", "base", "svg")(n) || n.Data == "link" && attr(n, "rel") != "icon" || n.Data == "meta" && attr(n, "http-equiv") != "" {
				t.Errorf("element %s", n.Data)
			}
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.Contains(strings.ToLower(a.Val), "javascript:") {
					t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
				}
			}
		}
		if len(all(doc, tag("style"))) != 1 {
			t.Error("not exactly one style sheet")
		}
	})
}

// Words that no page for people may have, section 1 of the specification.
func TestNoWordOfOurs(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		body := strings.ToLower(text(one(t, parse(t, render(set, request(lang), s.Page).Body.Bytes()), "body")))
		for _, word := range []string{"portero", "logto", "token", "callback", "upstream", "provider", "gateway", "http", "invalid", "illegal", "unauthorized", "oops", "sorry", "!",
			"loguear", "deslogueado", "click", "ordenador", "celular", "(s)"} {
			if strings.Contains(body, word) {
				t.Errorf("%q is on the page", word)
			}
		}
		if strings.Contains(body, "cookie") && s.Page.ID != page.NoCookies {
			t.Error("cookies are named on a page that is not about them")
		}
	})
}

func TestWeight(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		body := render(set, request(lang), s.Page).Body.Bytes()
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(body)
		z.Close()
		style := len(rawText(one(t, parse(t, body), "style")))
		if len(body) < 1<<10 || len(body) > 12<<10 || packed.Len() > 5<<10 || style > 5<<10 {
			t.Errorf("%d bytes, %d compressed, sheet %d; want 1 KB to 12 KB, 5 KB, 5 KB", len(body), packed.Len(), style)
		}
	})
}

// rawText is the raw text below n.
func rawText(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		b.WriteString(d.Data)
	}
	return b.String()
}
