package provider_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"portero/internal/demo/provider"
)

// TestChromium goes through the pages with a real browser, which applies their policies: the forms lead to the relying party, the end of a
// session posts itself, and an older tab leads on to another host.
func TestChromium(t *testing.T) {
	t.Parallel()
	var chromium string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		if os.Getenv("PORTERO_TEST_REAL") == "1" {
			t.Fatal("no Chromium on the path")
		}
		t.Skip("no Chromium on the path")
	}

	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<title>" + r.Host + "</title><p id=arrived>" + r.URL.Path + "</p>"))
	}))
	defer client.Close()
	port := client.URL[strings.LastIndexByte(client.URL, ':'):]
	w := newWorld(t, func(c *provider.Config) { c.Now = nil })

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-dev-shm-usage", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tab, closeTab := chromedp.NewContext(ctx)
	defer closeTab()
	run := func(tab context.Context, what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(tab, actions...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	at := func(host string) map[string]string {
		return map[string]string{"redirect_uri": "http://" + host + port + "/callback"}
	}
	arrived := func(tab context.Context, host, path string) {
		t.Helper()
		run(tab, "arriving at "+host+path, chromedp.WaitVisible("#arrived"))
		title, err := chromedp.Run(tab, chromedp.Title())
		if err != nil {
			t.Fatal(err)
		}
		text, err := chromedp.Run(tab, chromedp.Text("#arrived"))
		if err != nil {
			t.Fatal(err)
		}
		if title != host+port || text != path {
			t.Errorf("arrived at %s%s, want %s%s", title, text, host+port, path)
		}
	}

	run(tab, "asking for a code", chromedp.Navigate(w.authorization(at("localhost"))),
		chromedp.SendKeys("#identifier", "ann@example.com"), chromedp.Click("button[name=submit]"), chromedp.WaitVisible("#code"))
	other, closeOther := chromedp.NewContext(tab)
	defer closeOther()
	run(other, "starting in another tab", chromedp.Navigate(w.authorization(at("wiki.localhost"))), chromedp.WaitVisible("#identifier"))
	run(tab, "finishing the first tab", chromedp.SendKeys("#code", w.lastMail().Code), chromedp.Click("button[name=submit]"))
	arrived(tab, "wiki.localhost", "/callback")

	run(other, "signing in again", chromedp.Navigate(w.authorization(map[string]string{"prompt": "login consent", "redirect_uri": client.URL + "/callback"})),
		chromedp.SetValue("#identifier", "bea@example.com"), chromedp.Click("button[name=submit]"), chromedp.WaitVisible("#code"))
	run(other, "typing the code", chromedp.SendKeys("#code", w.lastMail().Code+"\r"))
	arrived(other, "127.0.0.1", "/callback")

	run(other, "ending the session", chromedp.Navigate(w.endSession(url.Values{
		"client_id": {appID}, "post_logout_redirect_uri": {"http://localhost" + port + "/signed-out"}})))
	arrived(other, "localhost", "/signed-out")
}
