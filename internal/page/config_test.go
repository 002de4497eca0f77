package page_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/page"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNewNamesEachMistake(t *testing.T) {
	t.Parallel()
	text := func(pg, part, lang, words string) page.Config {
		return page.Config{Texts: []page.Text{{Page: pg, Part: part, Lang: lang, Text: words}}}
	}
	for _, c := range []struct {
		name string
		cfg  page.Config
		want string
	}{
		{"prefix that is no path", page.Config{Prefix: "javascript:x"}, "endpoints.prefix: "},
		{"HTML in the name", page.Config{Name: "<b>Wiki</b>"}, "pages.name: HTML is not possible here"},
		{"line break in the name", page.Config{Name: "Wiki\n"}, "pages.name: the text has control characters"},
		{"name that is no UTF-8", page.Config{Name: "\xff"}, "pages.name: the text is not UTF-8"},
		{"name of 81 characters", page.Config{Name: strings.Repeat("ñ", 81)}, "pages.name: the text has 81 characters; at most 80 fit"},
		{"unknown language", page.Config{Languages: []string{"en", "fr"}}, `pages.languages[1]: there are no words in "fr"; write en or es`},
		{"language twice", page.Config{Languages: []string{"en", "en"}}, `pages.languages[1]: "en" stands there twice`},
		{"address of support", page.Config{Support: page.Support{Email: "help@example.com?subject=x"}}, "pages.support.email: "},
		{"web page of support", page.Config{Support: page.Support{URL: "javascript:alert(1)"}}, "pages.support.url: "},
		{"web page with a password", page.Config{Support: page.Support{URL: "https://a:b@example.com/"}}, "pages.support.url: "},
		{"telephone of support", page.Config{Support: page.Support{Phone: "call me"}}, "pages.support.phone: "},
		{"name of support", page.Config{Support: page.Support{Name: "<x>"}}, "pages.support.name: "},
		{"start page elsewhere", page.Config{HomeURL: "https://evil.example/", SignInOrigins: []string{"https://wiki.example.com"}}, "pages.home_url: "},
		{"start page without scheme", page.Config{HomeURL: "//evil.example/"}, "pages.home_url: "},
		{"start page with backslash", page.Config{HomeURL: `/\evil.example/`}, "pages.home_url: "},
		{"start page that is a script", page.Config{HomeURL: "javascript:alert(1)"}, "pages.home_url: "},
		{"start page with user", page.Config{HomeURL: "https://x@wiki.example.com/", SignInOrigins: []string{"https://wiki.example.com"}}, "pages.home_url: "},
		{"origin that would break out of the policy", page.Config{LogtoOrigin: "https://a.example; script-src *"}, "is no origin that a policy can name"},
		{"origin with a path", page.Config{SignInOrigins: []string{"https://a.example/"}}, "is no origin that a policy can name"},
		{"logo that is not there", page.Config{LogoFile: "testdata/none.svg"}, "pages.logo_file: opening the logo: "},
		{"logo that is something else", page.Config{LogoFile: "testdata/../config.go"}, "pages.logo_file: "},
		{"dark logo alone", page.Config{LogoDarkFile: "testdata/wide.svg"}, "pages.logo_dark_file: there is no pages.logo_file beside it"},
		{"unknown page", text("welcome", "lead", "en", "x"), `pages.texts[0].page: there is no page "welcome"; write one of signed-out, `},
		{"page for programs", text("sign-in-required", "lead", "en", "x"), "pages.texts[0].page: there is no page"},
		{"page for strangers", text("unknown-host", "lead", "en", "x"), "pages.texts[0].page: the words of unknown-host are fixed"},
		{"unknown part", text("denied", "footer", "en", "x"), `pages.texts[0].part: denied has no part "footer"`},
		{"part that the page has not", text("signed-in", "primary", "en", "x"), `pages.texts[0].part: signed-in has no part "primary"`},
		{"text in an unknown language", text("denied", "lead", "fr", "{email}"), `pages.texts[0].lang: there are no words in "fr"`},
		{"HTML in a text", text("denied", "heading", "en", "No <b>access</b>"), "pages.texts[0].text: HTML is not possible here"},
		{"unknown placeholder", text("denied", "heading", "en", "No access, {name}"), "pages.texts[0].text: {name} has no value here; write {app}, {support}, {email}"},
		{"placeholder without a value there", text("denied", "heading", "en", "Wait {wait}"), "pages.texts[0].text: {wait} has no value here"},
		{"host on bad-request", text("bad-request", "lead", "en", "{app}"), "pages.texts[0].text: {app} has no value here; write {support}"},
		{"brace alone", text("denied", "heading", "en", "a } b"), "pages.texts[0].text: a brace without its partner"},
		{"brace not closed", text("denied", "heading", "en", "a {app"), "pages.texts[0].text: a brace without its partner"},
		{"template action", text("denied", "heading", "en", `{{.Style}}`), "pages.texts[0].text: {{.Style} has no value here"},
		{"401 characters", text("denied", "heading", "en", strings.Repeat("ñ", 401)), "pages.texts[0].text: the text has 401 characters; at most 400 fit"},
		{"empty text", text("denied", "heading", "en", "  "), "pages.texts[0].text: the text is empty"},
		{"denied without the address", text("denied", "lead", "en", "Ask {support}."), "pages.texts[0].text: the text must have {email}"},
		{"text twice", page.Config{Texts: []page.Text{{Page: "denied", Part: "heading", Lang: "en", Text: "a"}, {Page: "denied", Part: "heading", Lang: "en", Text: "b"}}}, "pages.texts[1]: the heading of denied stands there twice"},
	} {
		_, err := page.New(c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		var key *page.KeyError
		if !errors.As(err, &key) {
			t.Errorf("%s: no *KeyError in %v", c.name, err)
		}
	}
}

func TestNewNamesAllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	_, err := page.New(page.Config{
		Name: "<", Accent: "red", AccentDark: "#000", Languages: []string{"xx"}, HomeURL: "x", LogoFile: "/nowhere",
		Support: page.Support{Email: "x"}, Texts: []page.Text{{Page: "x"}, {Page: "denied", Part: "x", Lang: "en"}},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, key := range []string{"pages.name:", "pages.accent:", "pages.accent_dark:", "pages.languages[0]:", "pages.home_url:", "pages.logo_file:", "pages.support.email:", "pages.texts[0].page:", "pages.texts[1].part:"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not named in:\n%v", key, err)
		}
	}
}

func TestSupportOfARoute(t *testing.T) {
	t.Parallel()
	if err := page.CheckSupport("routes[2].support", page.Support{Name: "Desk", Email: "a@example.com", URL: "https://x.example", Phone: "+34 900"}); err != nil {
		t.Errorf("refused: %v", err)
	}
	if err := page.CheckSupport("routes[2].support", page.Support{URL: "x"}); err == nil || !strings.HasPrefix(err.Error(), "routes[2].support.url: ") {
		t.Errorf("got %v", err)
	}
	set := newSet(t, page.Config{Support: page.Support{Name: "Everybody's desk"}})
	body := render(set, request("en"), page.Page{ID: page.Denied, Email: "a@example.com", Support: &page.Support{Name: "Wiki team", Phone: "+34 900 000"}}).Body.String()
	if strings.Contains(body, "Everybody") || !strings.Contains(body, `otherwise ask <a href="tel:+34900000"><bdi>Wiki team</bdi></a>.`) {
		t.Errorf("the route's support is not the one to ask: %s", body)
	}
}

func TestTextsOfTheOperator(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Texts: []page.Text{
		{Page: "denied", Part: "heading", Lang: "es", Text: "{app} no es para ti."},
		{Page: "denied", Part: "lead", Lang: "es", Text: "Eres {email} & compañía. Pregunta a {support}."},
		{Page: "denied", Part: "primary", Lang: "es", Text: "Cambiar de cuenta"},
		{Page: "app-slow", Part: "lead", Lang: "en", Text: "Slower than {timeout}."},
		{Page: "signed-out", Part: "lead", Lang: "en", Text: "Bye."},
		{Page: "account", Part: "secondary", Lang: "en", Text: "End all others"},
	}})
	p := page.Page{ID: page.Denied, App: "Wiki", Email: "ana@example.com", Primary: &page.Action{URL: "/"}, Secondary: &page.Action{URL: "/"}}
	main := text(one(t, parse(t, render(set, request("es"), p).Body.Bytes()), "main"))
	if want := "Wiki no es para ti Eres ana@example.com & compañía. Pregunta a quien administra Wiki. Cambiar de cuenta Volver al inicio"; main != want {
		t.Errorf("\n got %q\nwant %q", main, want)
	}
	if got := text(one(t, parse(t, render(set, request("en"), p).Body.Bytes()), "h1")); got != "You do not have access to Wiki" {
		t.Errorf("the other language changed: %q", got)
	}
	for _, c := range []struct {
		name string
		page page.Page
		want string
	}{
		{"safety sentence after a POST", page.Page{ID: page.AppSlow, AfterPost: true}, "If you were sending something, it may not have arrived"},
		{"true sentence of the sign-out", page.Page{ID: page.SignedOut, ProviderSilent: true}, "may still remember you"},
	} {
		if body := render(set, request("en"), c.page).Body.String(); !strings.Contains(body, c.want) {
			t.Errorf("%s is gone", c.name)
		}
	}
}

func TestLogo(t *testing.T) {
	t.Parallel()
	set := newSet(t, branded())
	doc := parse(t, render(set, request("en"), page.Page{ID: page.Denied}).Body.Bytes())
	img, source := one(t, doc, "img"), one(t, doc, "source")
	if attr(img, "width") != "520" || attr(img, "height") != "32" || attr(source, "width") != "32" || attr(source, "height") != "32" {
		t.Errorf("sizes %v %v, want 520 by 32 and 32 by 32", img.Attr, source.Attr)
	}
	for _, n := range []struct {
		url, kind, policy string
		file              string
	}{
		{attr(img, "src"), "image/svg+xml", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox", "testdata/wide.svg"},
		{attr(one(t, doc, "link"), "href"), "image/svg+xml", "default-src 'none'; frame-ancestors 'none'; sandbox", ""},
		{attr(source, "srcset"), "image/png", "default-src 'none'; frame-ancestors 'none'; sandbox", "testdata/square.png"},
	} {
		if !strings.HasPrefix(n.url, "/_portero/assets/logo-") && (n.file != "" || !strings.HasPrefix(n.url, "/_portero/assets/icon-")) {
			t.Errorf("logo or icon at %q", n.url)
		}
		w := httptest.NewRecorder()
		set.ServeAsset(w, httptest.NewRequest("GET", n.url, nil))
		want := w.Body.Bytes() // the icon, in the accent colour
		if n.file != "" {
			var err error
			if want, err = os.ReadFile(n.file); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Contains(want, []byte("#7a1fa2")) {
			t.Errorf("the icon is not in the accent colour: %s", want)
		}
		h := w.Header()
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) || h.Get("Content-Type") != n.kind || h.Get("Content-Security-Policy") != n.policy ||
			h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", n.url, w.Code, h)
		}
		again := httptest.NewRequest("GET", n.url, nil)
		again.Header.Set("If-None-Match", h.Get("ETag"))
		w = httptest.NewRecorder()
		if set.ServeAsset(w, again); w.Code != http.StatusNotModified {
			t.Errorf("%s: asked again: %d, want 304", n.url, w.Code)
		}
		w = httptest.NewRecorder()
		if set.ServeAsset(w, httptest.NewRequest("HEAD", n.url, nil)); w.Code != 200 || w.Body.Len() > 0 {
			t.Errorf("%s: HEAD: %d with %d bytes", n.url, w.Code, w.Body.Len())
		}
		w = httptest.NewRecorder()
		if set.ServeAsset(w, httptest.NewRequest("POST", n.url, nil)); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: POST: %d, Allow %q", n.url, w.Code, w.Header().Get("Allow"))
		}
	}
	for _, path := range []string{"/_portero/assets/", "/_portero/assets/logo.svg", "/_portero/assets/../assets/", "/other" + attr(img, "src")} {
		w := httptest.NewRecorder()
		if set.ServeAsset(w, httptest.NewRequest("GET", path, nil)); w.Code != 404 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d, want our 404", path, w.Code)
		}
	}
}

func TestLogosThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "reading its first element"},
		{"too large", `<svg width="1" height="1">` + strings.Repeat(" ", 32<<10), "is larger than 32 KiB"},
		{"HTML", "<html></html>", `its first element is "html", not svg`},
		{"no size", "<svg/>", "it has neither width and height nor viewBox"},
		{"size in percent", `<svg width="100%" height="100%"/>`, "it has neither width and height nor viewBox"},
		{"no height", `<svg viewBox="0 0 10 0"/>`, "measures 10 by 0"},
		{"endless", `<svg viewBox="0 0 99999 1"/>`, "sides of at most 100 to 1"},
		{"NaN", `<svg viewBox="0 0 NaN 1"/>`, "measures NaN by 1"},
		{"half a PNG", "\x89PNG\r\n\x1a\n", "is no PNG that can be read"},
	} {
		_, err := page.New(page.Config{LogoFile: write(t, "logo", c.content)})
		if err == nil || !strings.Contains(err.Error(), "pages.logo_file: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	for name, content := range map[string]string{
		"pixels":  `<svg width="64px" height="32px" viewBox="0 0 1 1"/>`,
		"box":     `<svg width="100%" viewBox="0,0,2,1"/>`,
		"doctype": `<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x"><!-- c --><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2"/>`,
	} {
		set, err := page.New(page.Config{LogoFile: write(t, "logo.svg", content)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		img := one(t, parse(t, render(set, request("en"), page.Page{ID: page.Denied}).Body.Bytes()), "img")
		if attr(img, "width") != "64" {
			t.Errorf("%s: width %s, want 64", name, attr(img, "width"))
		}
	}
}

func TestStartPage(t *testing.T) {
	t.Parallel()
	set := newSet(t, branded())
	for _, c := range []struct {
		page page.Page
		want string
	}{
		{page.Page{ID: page.NotFound}, "https://start.example.com/"},
		{page.Page{ID: page.BadRequest}, "https://start.example.com/"},
		{page.Page{ID: page.NotFound, Primary: &page.Action{URL: "/wiki"}}, "/wiki"},
		{page.Page{ID: page.Denied}, ""},
	} {
		got := ""
		doc := parse(t, render(set, request("en"), c.page).Body.Bytes())
		for _, a := range all(doc, func(n *html.Node) bool { return hasClass(n, "button") }) {
			got = attr(a, "href")
		}
		if got != c.want {
			t.Errorf("%s: the button leads to %q, want %q", c.page.ID, got, c.want)
		}
	}
}
