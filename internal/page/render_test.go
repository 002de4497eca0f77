package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"portero/internal/page"
)

func TestHeadersOfEveryPage(t *testing.T) {
	t.Parallel()
	eachSample(t, func(t *testing.T, lang string, s page.Sample, set *page.Set) {
		w := render(set, request(lang), s.Page)
		h := w.Header()
		sum := sha256.Sum256([]byte(rawText(one(t, parse(t, w.Body.Bytes()), "style"))))
		hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		form := "'self'"
		if strings.HasPrefix(t.Name(), "TestHeadersOfEveryPage/branded/") && s.Page.ID != page.UnknownHost {
			form = "'self' https://tenant.logto.app https://start.example.com https://wiki.example.com"
		}
		ancestors, frame := "'none'", "DENY"
		if s.Page.ID == page.Framed {
			ancestors, frame = "'self'", ""
		}
		referrer := "no-referrer"
		if s.Page.ID == page.SignOut || s.Page.ID == page.AccountPage {
			referrer = "same-origin"
		}
		want := map[string]string{
			"Content-Security-Policy":    "default-src 'none'; style-src " + hash + "; img-src 'self'; form-action " + form + "; base-uri 'none'; frame-ancestors " + ancestors,
			"X-Frame-Options":            frame,
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":          "no-store",
			"Content-Language":       lang,
			"Content-Type":           "text/html; charset=utf-8",
			"Vary":                   "Accept-Language, Cookie",
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        referrer,
			"X-Robots-Tag":           "noindex",
		}
		got := map[string]string{}
		for name := range want {
			got[name] = h.Get(name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("headers, - want + got:\n%s", diff)
		}
		refresh := ""
		if s.Page.ID == page.Waiting {
			refresh = "2"
		}
		if got := h.Get("Refresh"); got != refresh {
			t.Errorf("Refresh %q, want %q", got, refresh)
		}
		code := s.Page.Code
		if s.Page.ID == page.UnknownHost {
			code = ""
		}
		if got := h.Get("Portero-Code"); got != code {
			t.Errorf("Portero-Code %q, want %q", got, code)
		}
	})
}

func TestStatusAndRetryAfter(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{})
	for _, c := range []struct {
		page   page.Page
		status int
		retry  string
	}{
		{page.Page{}, 503, "5"},
		{page.Page{ID: "no such page"}, 503, "5"},
		{page.Page{ID: page.SignedOut}, 200, ""},
		{page.Page{ID: page.SignOut}, 200, ""},
		{page.Page{ID: page.Denied}, 403, ""},
		{page.Page{ID: page.DeniedNetwork}, 403, ""},
		{page.Page{ID: page.SignInFailed}, 400, ""},
		{page.Page{ID: page.InvitationOver}, 410, ""},
		{page.Page{ID: page.NoCookies}, 400, ""},
		{page.Page{ID: page.SignInUnavailable}, 503, "30"},
		{page.Page{ID: page.MailUnavailable}, 503, ""},
		{page.Page{ID: page.AppUnavailable}, 502, ""},
		{page.Page{ID: page.AppSlow}, 504, ""},
		{page.Page{ID: page.Unavailable}, 503, "5"},
		{page.Page{ID: page.Unavailable, RetryAfter: 1500 * time.Millisecond}, 503, "2"},
		{page.Page{ID: page.UnknownHost}, 421, ""},
		{page.Page{ID: page.BadRequest}, 400, ""},
		{page.Page{ID: page.BadRequest, Status: 405}, 405, ""},
		{page.Page{ID: page.BadRequest, Status: 99}, 400, ""},
		{page.Page{ID: page.NotFound}, 404, ""},
		{page.Page{ID: page.TooMany, Wait: 3 * time.Minute}, 429, "180"},
		{page.Page{ID: page.FormNotSent}, 401, ""},
		{page.Page{ID: page.SignedIn}, 200, ""},
		{page.Page{ID: page.Framed}, 401, ""},
		{page.Page{ID: page.Waiting}, 200, ""},
		{page.Page{ID: page.StepUp}, 401, ""},
		{page.Page{ID: page.AccountPage}, 200, ""},
		{page.Page{ID: page.SignInRequired}, 401, ""},
	} {
		w := render(set, request("en"), c.page)
		if w.Code != c.status || w.Header().Get("Retry-After") != c.retry {
			t.Errorf("%s: %d, Retry-After %q; want %d, %q", c.page.ID, w.Code, w.Header().Get("Retry-After"), c.status, c.retry)
		}
	}
}

func TestUnknownPageDeniesWithTheCode(t *testing.T) {
	t.Parallel()
	w := render(newSet(t, page.Config{}), request("en"), page.Page{ID: "nonsense", Code: "7K3F-Q9XM", Email: "ana@example.com"})
	if w.Code != 503 || !strings.Contains(w.Body.String(), "7K3F-Q9XM") || strings.Contains(w.Body.String(), "ana@") {
		t.Errorf("%d %s; want the page unavailable with the code and nothing else of the page asked for", w.Code, w.Body)
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	t.Parallel()
	set := newSet(t, branded())
	get := render(set, request("en"), page.Page{ID: page.Denied, Code: "7K3F-Q9XM", Time: now()})
	r := request("en")
	r.Method = "HEAD"
	head := render(set, r, page.Page{ID: page.Denied, Code: "7K3F-Q9XM", Time: now()})
	if head.Body.Len() != 0 || head.Code != get.Code {
		t.Errorf("HEAD: %d with %d bytes, want %d with none", head.Code, head.Body.Len(), get.Code)
	}
	if diff := cmp.Diff(get.Header(), head.Header()); diff != "" {
		t.Errorf("headers differ, - GET + HEAD:\n%s", diff)
	}
}

func TestOtherReaders(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Name: "Wiki"})
	for _, c := range []struct {
		name, accept, lang string
		page               page.Page
		kind, language     string
		body               string
	}{
		{"denied in JSON is English", "application/json", "es", page.Page{ID: page.Denied, Code: "7K3F-Q9XM"}, "application/json", "en",
			`{"error":"denied","message":"You do not have access to Wiki.","support_code":"7K3F-Q9XM"}`},
		{"401 says where to sign in", "application/problem+json", "en", page.Page{ID: page.SignInRequired, SignInURL: "https://wiki.example.com/sign-in?return_to=%2F"}, "application/json", "en",
			`{"error":"sign_in_required","message":"You are not signed in.","support_code":"","sign_in_url":"https://wiki.example.com/sign-in?return_to=%2F"}`},
		{"only 401 says it", "application/json", "en", page.Page{ID: page.SignInUnavailable, Code: "7K3F-Q9XM", SignInURL: "/sign-in"}, "application/json", "en",
			`{"error":"sign_in_unavailable","message":"Signing in is not possible right now.","support_code":"7K3F-Q9XM"}`},
		{"text has the code", "*/*", "", page.Page{ID: page.AppUnavailable, Code: "7K3F-Q9XM"}, "text/plain; charset=utf-8", "en",
			"Wiki is not answering. Code for support: 7K3F-Q9XM"},
		{"text is in the reader's language", "text/plain", "es", page.Page{ID: page.AppUnavailable, Code: "7K3F-Q9XM"}, "text/plain; charset=utf-8", "es",
			"Wiki no responde. Código para soporte: 7K3F-Q9XM"},
		{"text without a code", "image/png", "en", page.Page{ID: page.SignInRequired}, "text/plain; charset=utf-8", "en",
			"You are not signed in."},
		{"hostile application in JSON", "application/json", "en", page.Page{ID: page.AppSlow, App: "</script>\r\n\"x"}, "application/json", "en",
			`{"error":"app_slow","message":"\u003c/script\u003e` + "\ufffd\ufffd" + `\"x is taking too long.","support_code":""}`},
		{"hostile application is one line of text", "text/plain", "en", page.Page{ID: page.AppSlow, App: "a\r\nb\u2028c"}, "text/plain; charset=utf-8", "en",
			"a\ufffd\ufffdb\ufffdc is taking too long."},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", c.accept)
		r.Header.Set("Accept-Language", c.lang)
		w := render(set, r, c.page)
		if got := w.Header().Get("Content-Type"); got != c.kind {
			t.Errorf("%s: Content-Type %q, want %q", c.name, got, c.kind)
		}
		if got := w.Header().Get("Content-Language"); got != c.language {
			t.Errorf("%s: Content-Language %q, want %q", c.name, got, c.language)
		}
		if got := w.Body.String(); got != c.body+"\n" {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.body+"\n")
		}
		if c.kind == "application/json" && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: no JSON", c.name)
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: may be stored or sniffed", c.name)
		}
	}
}

func TestLanguageOfTheReader(t *testing.T) {
	t.Parallel()
	both := newSet(t, page.Config{LanguageCookie: "lang"})
	spanish := newSet(t, page.Config{Languages: []string{"es", "en"}})
	only := newSet(t, page.Config{Languages: []string{"es"}})
	for _, c := range []struct {
		name   string
		set    *page.Set
		accept []string
		cookie string
		want   string
	}{
		{"nothing said", both, nil, "", "en"},
		{"nothing said, other fallback", spanish, nil, "", "es"},
		{"plain", both, []string{"es"}, "", "es"},
		{"region", both, []string{"es-419"}, "", "es"},
		{"upper case", both, []string{"ES-MX"}, "", "es"},
		{"no Spanish", both, []string{"esperanto"}, "", "en"},
		{"unknown ones first", both, []string{"de-DE,de;q=0.9,es;q=0.8,en;q=0.7"}, "", "es"},
		{"quality before order", both, []string{"en;q=0.5, es;q=0.9"}, "", "es"},
		{"order among equals", both, []string{"es;q=0.5,en;q=0.5"}, "", "es"},
		{"refused by quality zero", both, []string{"es;q=0"}, "", "en"},
		{"quality that cannot be read", both, []string{"es;q=high"}, "", "en"},
		{"several lines", both, []string{"de", "es"}, "", "es"},
		{"anything", spanish, []string{"*"}, "", "es"},
		{"cookie before header", both, []string{"es"}, "en", "en"},
		{"cookie with a language that is not offered", both, []string{"es"}, "de", "es"},
		{"cookie that is hostile", both, nil, "../../etc", "en"},
		{"language that is not offered here", only, []string{"en"}, "", "es"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, line := range c.accept {
			r.Header.Add("Accept-Language", line)
		}
		if c.cookie != "" {
			r.Header.Set("Cookie", "lang="+c.cookie)
		}
		if got := c.set.Language(r); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSetLanguage(t *testing.T) {
	t.Parallel()
	set := newSet(t, branded())
	w := httptest.NewRecorder()
	if !set.SetLanguage(w, "es") {
		t.Error("Spanish is refused")
	}
	if got, want := w.Header().Get("Set-Cookie"), "__Host-portero-lang=es; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax"; got != want {
		t.Errorf("got cookie %q, want %q", got, want)
	}
	w = httptest.NewRecorder()
	if set.SetLanguage(w, "de") || set.SetLanguage(w, "es; Domain=example.com") || len(w.Header()) > 0 {
		t.Errorf("a language that is not offered sets %v", w.Header())
	}
}

func TestLanguageSwitch(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{})
	link := func(set *page.Set, r *http.Request, p page.Page) string {
		for _, a := range all(parse(t, render(set, r, p).Body.Bytes()), tag("a")) {
			if strings.Contains(attr(a, "href"), "/language") {
				return attr(a, "href")
			}
		}
		return ""
	}
	p := page.Page{ID: page.Denied, LanguageReturn: `/a?b=c&d="><script>`}
	if got, want := link(set, request("en"), p), "/_portero/language?lang=es&return_to=%2Fa%3Fb%3Dc%26d%3D%22%3E%3Cscript%3E"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	post := request("en")
	post.Method = "POST"
	after := p
	after.AfterPost = true
	for name, got := range map[string]string{
		"after a POST":     link(set, post, p),
		"after the POST":   link(set, request("en"), after),
		"nowhere to":       link(set, request("en"), page.Page{ID: page.Denied}),
		"on unknown-host":  link(set, request("en"), page.Page{ID: page.UnknownHost, LanguageReturn: "/"}),
		"one language":     link(newSet(t, page.Config{Languages: []string{"en"}}), request("en"), p),
		"form of the user": link(set, post, page.Page{ID: page.FormNotSent, LanguageReturn: "/"}),
	} {
		if got != "" {
			t.Errorf("%s: a language switch to %q", name, got)
		}
	}
}

func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	cfg := branded()
	cfg.Texts = []page.Text{{Page: "not-found", Part: "lead", Lang: "en", Text: "Secret words"}}
	set := newSet(t, cfg)
	plain := newSet(t, page.Config{LanguageCookie: cfg.LanguageCookie})
	full := page.Page{
		ID: page.UnknownHost, App: "Payroll", Email: "ana@example.com", Support: &page.Support{Name: "Desk", Email: "x@example.com"},
		Primary: &page.Action{URL: "/secret"}, Secondary: &page.Action{URL: "/secret"}, Code: "7K3F-Q9XM", User: "ana@example.com",
		LanguageReturn: "/secret", SignInURL: "/sign-in",
	}
	for _, accept := range []string{"text/html", "application/json", "*/*"} {
		r := httptest.NewRequest("GET", "http://evil.example/secret", nil)
		r.Header.Set("Accept", accept)
		got, want := render(set, r, full), render(plain, r, page.Page{ID: page.UnknownHost})
		if diff := cmp.Diff(want.Body.String(), got.Body.String()); diff != "" {
			t.Errorf("%s: the page differs from that of a gateway without configuration:\n%s", accept, diff)
		}
		if diff := cmp.Diff(want.Header(), got.Header()); diff != "" {
			t.Errorf("%s: the headers differ from those of a gateway without configuration:\n%s", accept, diff)
		}
		if strings.Contains(got.Body.String(), "evil.example") || strings.Contains(got.Body.String(), "href") {
			t.Errorf("%s: the host or a link is on the page", accept)
		}
	}
	unbranded := render(set, request("en"), page.Page{ID: page.BadRequest, Unbranded: true, App: "Payroll", Primary: nil})
	for _, word := range []string{"Intranet", "Payroll", "Help desk", "logto", "start.example.com", "7a1fa2", "assets"} {
		if strings.Contains(unbranded.Body.String()+unbranded.Header().Get("Content-Security-Policy"), word) {
			t.Errorf("an unbranded page has %q", word)
		}
	}
}

func TestBadRequestShowsNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	r := request("en")
	r.Host = "evil.example"
	r.URL.Path = "/<script>alert(1)</script>"
	body := render(newSet(t, page.Config{}), r, page.Page{ID: page.BadRequest, App: "evil.example"}).Body.String()
	if strings.Contains(body, "evil") || strings.Contains(body, "alert") {
		t.Errorf("the request is on the page: %s", body)
	}
}

func TestHostileInputIsTextAndShort(t *testing.T) {
	t.Parallel()
	hostile := []string{
		`<script>alert(1)</script>@example.com`, `"><img src=x onerror=alert(1)>`, `'onmouseover='alert(1)`, `javascript:alert(1)`,
		"a\u202egpj.exe@example.com", "\x00\x1b[31m\r\nSet-Cookie: a=b", strings.Repeat("a", 500) + "@" + strings.Repeat("b", 500), "\xff\xfe\xc0\x80",
		`{{.}}{{printf "%s" .}}`, "]]>--><!--", strings.Repeat("\u0301", 300),
	}
	set := newSet(t, page.Config{})
	for _, bad := range hostile {
		r := request("en")
		r.Host = bad
		action := &page.Action{URL: bad, Post: true, Fields: []page.Field{{Name: bad, Value: bad}}}
		for _, s := range set.Samples("en") {
			p := s.Page
			p.App, p.Email, p.User, p.LanguageReturn = bad, bad, bad, bad
			p.Primary, p.Secondary = &page.Action{URL: bad}, action
			p.Support = &page.Support{Name: bad, Email: bad, URL: bad, Phone: bad}
			if p.Account != nil {
				p.Account = &page.Account{Email: bad, Name: bad, SignOutURL: bad, EndURL: bad,
					Sessions: []page.AccountSession{{ID: bad, Device: bad}}, Learned: []page.LearnedItem{{Label: bad, Value: bad}}}
			}
			checkHarmless(t, s.Name, bad, render(set, r, p).Body.Bytes())
			p.App = ""
			checkHarmless(t, s.Name, bad, render(set, r, p).Body.Bytes())
		}
	}
}

func checkHarmless(t testing.TB, name, bad string, body []byte) {
	t.Helper()
	doc := parse(t, body)
	for _, n := range all(doc, func(*html.Node) bool { return true }) {
		if tag("script", "iframe", "svg")(n) || n.Data == "img" && attr(n, "src") == "x" {
			t.Errorf("%s with %q: element %s", name, bad, n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || (a.Key == "href" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("%s with %q: %s has %s=%q", name, bad, n.Data, a.Key, a.Val)
			}
		}
		if n.Data == "bdi" {
			if got := len([]rune(rawText(n))); got > 80 {
				t.Errorf("%s with %q: %d characters of it are shown", name, bad, got)
			}
		}
	}
	if shown := rawText(one(t, doc, "body")); strings.ContainsAny(shown, "\x00\x1b\u202e\r") || strings.Contains(shown, strings.Repeat("a", 81)) {
		t.Errorf("%s with %q: control characters or more than 80 characters are shown", name, bad)
	}
}

func TestForeignTextIsIsolated(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{})
	body := render(set, request("en"), page.Page{ID: page.Denied, Email: "ana@example.com"}).Body.String()
	for _, want := range []string{"<bdi>ana<wbr>@example.com</bdi>", "<bdi>wiki.example.com</bdi>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	body = render(set, request("en"), page.Page{ID: page.Denied, Email: strings.Repeat("ñ", 81)}).Body.String()
	if want := "<bdi>" + strings.Repeat("ñ", 79) + "…</bdi>"; !strings.Contains(body, want) {
		t.Error("81 characters are not cut at 80 with an ellipsis")
	}
	body = render(set, request("en"), page.Page{ID: page.Denied, Email: strings.Repeat("a", 68) + "@example.com"}).Body.String()
	if want := "<bdi>" + strings.Repeat("a", 68) + "<wbr>@example.com</bdi>"; !strings.Contains(body, want) {
		t.Error("an address of 80 characters is cut")
	}
}

func TestNameOfTheApplication(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, title, host, want string }{
		{"Intranet", "Wiki", "wiki.example.com", "Wiki"},
		{"Intranet", "", "wiki.example.com", "Intranet"},
		{"", "", "Wiki.example.com:8443", "wiki.example.com"},
		{"", "", "", "this site"},
	} {
		r := request("en")
		r.Host = c.host
		doc := parse(t, render(newSet(t, page.Config{Name: c.name}), r, page.Page{ID: page.Unavailable, App: c.title}).Body.Bytes())
		if got, want := text(one(t, doc, "h1")), c.want+" cannot be opened right now"; got != want {
			t.Errorf("%+v: got %q, want %q", c, got, want)
		}
	}
}

func TestLinksOutOfFramesAndIntoTabs(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{})
	for id, want := range map[page.ID]string{
		page.Framed:      `<a class="button" href="/sign-in?return_to=%2F" target="_top">`,
		page.FormNotSent: `<a class="button" href="/sign-in?return_to=%2F" target="_blank" rel="noopener">`,
		page.Denied:      `<a class="button" href="/sign-in?return_to=%2F">`,
	} {
		body := render(set, request("en"), page.Page{ID: id, Primary: &page.Action{URL: "/sign-in?return_to=%2F"}}).Body.String()
		if !strings.Contains(body, want) {
			t.Errorf("%s: no %s in %s", id, want, body)
		}
	}
	body := render(set, request("en"), page.Page{ID: page.SignOut, Primary: &page.Action{URL: "/sign-out", Post: true, Fields: []page.Field{{Name: "return_to", Value: "/a b"}}}}).Body.String()
	if want := `<form method="post" action="/sign-out"><input type="hidden" name="return_to" value="/a b"><button>Sign out</button></form>`; !strings.Contains(body, want) {
		t.Errorf("no %s", want)
	}
}

func TestStaleHeadersDoNotDescribeThePage(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	for _, name := range []string{"Content-Encoding", "ETag", "Last-Modified", "Content-Range", "Expires"} {
		w.Header().Set(name, "stale")
	}
	w.Header().Set("Content-Length", "1")
	w.Header().Set("Proxy-Status", "portero; error=connection_timeout")
	newSet(t, page.Config{}).Render(w, request("en"), page.Page{ID: page.AppSlow})
	for name, values := range w.Header() {
		if values[0] == "stale" || name == "Content-Length" && values[0] == "1" {
			t.Errorf("%s: %s", name, values[0])
		}
	}
	if w.Header().Get("Proxy-Status") == "" {
		t.Error("Proxy-Status, which is the caller's, is gone")
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	var err error = &page.Problem{Page: page.Page{ID: page.AppUnavailable}, Cause: io.ErrUnexpectedEOF}
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "answering with page app-unavailable: unexpected EOF" {
		t.Errorf("got %q", err)
	}
	if got := (&page.Problem{Page: page.Page{ID: page.Denied}}).Error(); got != "answering with page denied" {
		t.Errorf("got %q", got)
	}
}

func TestWriteAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	set := newSet(t, branded())
	n, err := set.WriteAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(set.Samples("en")); n != want {
		t.Errorf("%d pages, want %d", n, want)
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	links := all(parse(t, index), tag("a"))
	if len(links) != n {
		t.Errorf("the index lists %d pages, want %d", len(links), n)
	}
	for _, a := range links {
		body, err := os.ReadFile(filepath.Join(dir, attr(a, "href")))
		if err != nil {
			t.Errorf("listed: %v", err)
			continue
		}
		for _, img := range all(parse(t, body), tag("img")) {
			if _, err := os.Stat(filepath.Join(dir, attr(img, "src"))); err != nil {
				t.Errorf("%s: its logo: %v", attr(a, "href"), err)
			}
		}
	}
	for _, name := range []string{"denied.en.html", "denied.es.html", "account.es.html", "app-slow.after-post.en.html"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := set.WriteAll(file); err == nil {
		t.Error("a file where the folder should be is no error")
	}
}

// discard is a connection that costs nothing, so that the page alone is measured.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkRender(b *testing.B) {
	set := newSet(b, branded())
	for _, s := range set.Samples("es") {
		if s.Name != "denied" && s.Name != "account" && s.Name != "unknown-host" {
			continue
		}
		b.Run(s.Name, func(b *testing.B) {
			r := request("es")
			b.ReportAllocs()
			w := discard{}
			for b.Loop() {
				clear(w)
				set.Render(w, r, s.Page)
			}
		})
	}
}

func FuzzRender(f *testing.F) {
	set := newSet(f, page.Config{})
	f.Add("wiki.example.com", "ana@example.com", "/reports", "text/html", "es-419,en;q=0.5")
	f.Add(`"><script>`, "\x00@\u202e", "javascript:alert(1)", "*/*;q=,", ";;;q=1,*;q=9")
	f.Fuzz(func(t *testing.T, host, email, back, accept, language string) {
		r := request(language)
		r.Host = host
		r.Header.Set("Accept", accept)
		p := page.Page{ID: page.Denied, Email: email, LanguageReturn: back, Primary: &page.Action{URL: back}}
		w := render(set, r, p)
		if w.Code != 403 {
			t.Fatalf("status %d", w.Code)
		}
		if page.WantsHTML(r) && page.WantsJSON(r) {
			t.Fatal("wants both")
		}
		if page.WantsHTML(r) {
			checkHarmless(t, "denied", host+email+back, w.Body.Bytes())
		}
	})
}
