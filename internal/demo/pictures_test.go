package demo_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/config"
	"portero/internal/demo"
	"portero/internal/gatewaytest"
	"portero/internal/mail"
	pages "portero/internal/page"
)

var update = flag.Bool("update", false, "take the pictures of docs/logto, and write down what is to be read on them")

const (
	pictureFolder = "../../docs/logto"
	pictureTexts  = "testdata/pictures.txt" // what was to be read on each picture when it was taken
	pictureLimit  = 60 << 10
	pictureWidth  = 640
)

// camera takes the pictures of the texts for operators. Pixels differ from machine to machine and are not compared: what can be read on a
// page is, with what could be read on it when its picture was taken.
type camera struct {
	t     *testing.T
	texts strings.Builder
	taken []string
}

// readable is the heading, sentences and buttons of a page, without those that differ each time.
const readable = `[...document.querySelectorAll('main h1, main > p:not(.support), main h2, main .actions button, main .actions a')].map(e => e.innerText.replace(/\s+/g, ' ').trim()).join('\n')`

// take looks at the page in a tab at a width, down to its end or to the first element that until matches. text is what can be read on it.
func (c *camera) take(tab *gatewaytest.Tab, name, lang string, width int64, until, text string) {
	c.t.Helper()
	if got := gatewaytest.Eval[string](tab, "document.documentElement.lang"); got != lang {
		c.t.Errorf("%s: the page is in %q, want %q", name, got, lang)
	}
	end := "document.documentElement.getBoundingClientRect().bottom"
	if until != "" {
		end = fmt.Sprintf("document.querySelector(%q).getBoundingClientRect().top", until)
	}
	height, last := int64(320), int64(0)
	for range 10 { // some space depends on the height of the window
		if height == last {
			break
		}
		tab.Resize(width, height)
		last, height = height, gatewaytest.Eval[int64](tab, "Math.ceil("+end+")")
	}
	if height != last {
		c.t.Errorf("%s: the window never fits the page: %d, then %d high", name, last, height)
	}
	for _, wrong := range gatewaytest.Eval[[]string](tab, beside) {
		c.t.Errorf("%s: %s", name, wrong)
	}
	picture := tab.Picture()
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil || int64(size.Width) != width || int64(size.Height) != last || len(picture) > pictureLimit {
		c.t.Errorf("%s: %d by %d in %d bytes (%v), want %d by %d in at most %d bytes", name, size.Width, size.Height, len(picture), err, width, last, pictureLimit)
	}
	c.taken = append(c.taken, name)
	fmt.Fprintf(&c.texts, "== %s\n%s\n\n", name, text)
	if *update {
		c.write(filepath.Join(pictureFolder, name), picture)
	}
}

func (c *camera) write(file string, content []byte) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// compare ends the session: the pictures that are there are these, and say what the pages say.
func (c *camera) compare() {
	c.t.Helper()
	got := strings.TrimSuffix(c.texts.String(), "\n")
	if *update {
		c.write(pictureTexts, []byte(got))
	}
	want, err := os.ReadFile(pictureTexts)
	if err != nil {
		c.t.Fatal(err)
	}
	const again = "take them again and look at them: go test ./internal/demo -run TestPictures -update"
	if diff := cmp.Diff(string(want), got); diff != "" {
		c.t.Errorf("the pictures in docs/logto do not say what the pages say (-picture +page); %s\n%s", again, diff)
	}
	files, err := filepath.Glob(filepath.Join(pictureFolder, "*"))
	if err != nil {
		c.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, file := range files {
		there[filepath.Base(file)] = true
	}
	for _, name := range c.taken {
		if !there[name] {
			c.t.Errorf("docs/logto has no %s; %s", name, again)
		}
		delete(there, name)
	}
	for name := range there {
		c.t.Errorf("docs/logto has %s, which nothing here takes", name)
	}
}

// TestPictures walks through what people see of a gateway that has been set up at the demonstration's tenant, as docs/logto.md tells it, and
// holds the pictures of the texts against it. With -update it takes them.
func TestPictures(t *testing.T) {
	t.Parallel()
	const (
		person = "ana.perez@example.com" // as in page.Set.Samples
		brand  = `pages: {name: Wiki, support: {name: Help desk, email: help@example.com}}`
	)
	looks, err := config.Load(config.Options{Path: "portero.yaml", Text: []byte(brand), Only: []string{"mailgun", "pages"}})
	if err != nil {
		t.Fatal(err)
	}
	clock := gatewaytest.NewClock()
	d := start(t, demo.Config{Now: clock.Now, From: looks})
	r := gatewaytest.New(t, &gatewaytest.Options{
		Clock:      clock,
		Logto:      &gatewaytest.Logto{Endpoint: d.Logto.Endpoint, AppID: d.Logto.AppID, AppSecret: d.Logto.AppSecret},
		Management: fmt.Sprintf("app_id: %s, app_secret: %s", d.Logto.Management.AppID, d.Logto.Management.AppSecret),
		Routes: fmt.Sprintf(`
  - {name: admin, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: %[1]q}]}
  - {name: wiki, path: /, upstreams: [{url: %[1]q}]}
`, d.Addresses.Application),
		Extra: brand,
	})
	chromium := gatewaytest.NewChromium(t)
	c := &camera{t: t}
	says := samples(t, chromium)
	ours := func(tab *gatewaytest.Tab, name, sample, lang string, width int64) {
		t.Helper()
		text := gatewaytest.Eval[string](tab, readable)
		if diff := cmp.Diff(says[lang+"/"+sample], text); diff != "" {
			t.Errorf("%s does not say what the page %s says (-page +got):\n%s", name, sample, diff)
		}
		c.take(tab, name, lang, width, "footer", text)
	}

	// Somebody was here three hours ago, with another browser.
	other := gatewaytest.NewBrowser(t, map[string]string{"localhost": r.Addr})
	if last := signIn(t, other, d, other.Visit(r.URL+"/"), person); last.StatusCode != http.StatusOK {
		t.Fatalf("signing in: got %s at %s\n%s", last.Status, last.Request.URL, last.Text)
	}
	clock.Add(3 * time.Hour)

	v := visit(t, chromium, d, inEnglish, gatewaytest.Look{})
	v.Open(r.URL + "/handbook")
	v.askCode(v.Tab, person)
	c.mails(v.NewTab(), d, person)
	v.Type("#code", v.code(person))
	v.ClickText(v.say.signIn)
	v.AwaitHeading(v.say.received)
	seen := v.Heading() + "\n" + v.Text("main dl dd")
	if want := "What the application received\n" + person; seen != want {
		t.Errorf("the application shows %q, want %q", seen, want)
	}
	c.take(v.Tab, "application.png", "en", pictureWidth, "main h2:nth-of-type(3)", seen)

	v.Open(r.URL + "/_portero/")
	ours(v.Tab, "own-page.png", "account", "en", pictureWidth)
	v.Open(r.URL + "/admin/")
	ours(v.Tab, "denied.png", "denied", "en", pictureWidth)
	v.Open(r.URL + "/sign-out")
	v.tabTo(v.say.signOut) // as the keyboard reaches it: with its outline
	ours(v.Tab, "sign-out.png", "sign-out", "en", pictureWidth)
	v.Press("\r")
	v.AwaitHeading(v.say.signedOut)
	ours(v.Tab, "signed-out.png", "signed-out", "en", pictureWidth)

	phone := visit(t, chromium, d, inSpanish, gatewaytest.Look{Width: 390, Height: 844, Phone: true})
	phone.Open(r.URL + "/handbook")
	phone.signIn(phone.Tab, person)
	phone.AwaitHeading(phone.say.received)
	phone.Open(r.URL + "/_portero/")
	ours(phone.Tab, "own-page-phone-es.png", "account", "es", 390)

	link := inviteAt(t, "http://"+r.Gateway.AdminAddr().String(), gatewaytest.AdminToken, person, r.URL+"/handbook", "7d")
	clock.Add(7 * 24 * time.Hour)
	late := visit(t, chromium, d, inEnglish, gatewaytest.Look{})
	late.Open(link)
	ours(late.Tab, "invitation-over.png", string(pages.InvitationOver), "en", pictureWidth)

	v.quiet()
	phone.quiet()
	late.quiet()
	c.compare()
}

// samples is what the pages say that a gateway with these looks can serve. :: LANG/NAME → text
func samples(t *testing.T, c *gatewaytest.Chromium) map[string]string {
	t.Helper()
	set, err := pages.New(pages.Config{Name: "Wiki", Support: pages.Support{Name: "Help desk", Email: "help@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	tab := c.Person(t, gatewaytest.Look{})
	out := map[string]string{}
	for _, lang := range []string{"en", "es"} {
		for _, sample := range set.Samples(lang) {
			switch sample.Page.ID {
			case pages.AccountPage, pages.Denied, pages.SignOut, pages.SignedOut, pages.InvitationOver:
			default:
				continue
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Accept-Language", lang)
				set.Render(w, r, sample.Page)
			}))
			tab.Open(server.URL)
			out[lang+"/"+sample.Name] = gatewaytest.Eval[string](tab, readable)
			server.Close()
		}
	}
	return out
}

var sixDigits = regexp.MustCompile(`\b[0-9]{6}\b`)

// mails takes the pictures of the two mails: the one with the code, as the mailbox has it, and the one of an invitation.
func (c *camera) mails(tab *gatewaytest.Tab, d *demo.Demo, person string) {
	c.t.Helper()
	resp := gatewaytest.NewBrowser(c.t, nil).Get(d.Addresses.Mailbox + "/api/messages?to=" + url.QueryEscape(person))
	var got []struct{ HTML, Text, Code string }
	if err := json.Unmarshal([]byte(resp.Text), &got); err != nil || len(got) == 0 {
		c.t.Fatalf("the mailbox has %s (%v)", resp.Text, err)
	}
	for _, one := range []struct{ name, html, want string }{
		{"mail.png", got[0].HTML, mail.Default(mail.SignIn, "Wiki").Message(person, got[0].Code).Text},
		{"invitation-mail.png", mail.Invitation{To: person, App: "Wiki", Link: "https://wiki.example.com/", Ends: time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)}.Message().HTML, ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, one.html)
		}))
		tab.Open(server.URL)
		server.Close()
		text := gatewaytest.Eval[string](tab, `[...document.querySelectorAll('body > p')].map(e => e.innerText).join('\n')`)
		if want := got[0].Code + "\n" + strings.ReplaceAll(one.want, " / ", "\n"); one.want != "" && text != want {
			c.t.Errorf("the mail says %q, want %q", text, want)
		}
		c.take(tab, one.name, "en", pictureWidth, "", sixDigits.ReplaceAllString(text, "{{code}}"))
	}
}
