package provider_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"portero/internal/demo/provider"
	"portero/internal/gatewaytest"
)

// TestChromium goes through the pages with a real browser, which applies their policies: the forms lead to the relying party, the end of a
// session posts itself, and an older tab leads on to another host.
func TestChromium(t *testing.T) {
	t.Parallel()
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{})
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<!doctype html><title>" + r.Host + "</title><link rel=icon href='data:,'><p id=arrived>" + r.URL.Path + "</p>"))
	}))
	defer client.Close()
	port := client.URL[strings.LastIndexByte(client.URL, ':'):]
	w := newWorld(t, func(c *provider.Config) { c.Now = nil })

	at := func(host string) map[string]string {
		return map[string]string{"redirect_uri": "http://" + host + port + "/callback"}
	}
	arrived := func(tab *gatewaytest.Tab, host, path string) {
		t.Helper()
		tab.WaitVisible("#arrived")
		if title, text := gatewaytest.Eval[string](tab, "document.title"), tab.Text("#arrived"); title != host+port || text != path {
			t.Errorf("arrived at %s%s, want %s%s", title, text, host+port, path)
		}
	}

	tab.Open(w.authorization(at("localhost")))
	tab.Type("#identifier", "ann@example.com")
	tab.Click("button[name=submit]")
	tab.WaitVisible("#code")
	other := tab.NewTab()
	other.Open(w.authorization(at("wiki.localhost")))
	other.WaitVisible("#identifier")
	tab.Type("#code", w.lastMail().Code)
	tab.Click("button[name=submit]")
	arrived(tab, "wiki.localhost", "/callback")

	other.Open(w.authorization(map[string]string{"prompt": "login consent", "redirect_uri": client.URL + "/callback"}))
	other.Type("#identifier", "bea@example.com") // the field is empty: nobody is told who signed in before
	other.Click("button[name=submit]")
	other.WaitVisible("#code")
	other.Type("#code", w.lastMail().Code+"\r")
	arrived(other, "127.0.0.1", "/callback")

	other.Open(w.endSession(url.Values{
		"client_id": {appID}, "post_logout_redirect_uri": {"http://localhost" + port + "/signed-out"}}))
	arrived(other, "localhost", "/signed-out")
	for _, complaint := range append(tab.Console(), other.Console()...) {
		t.Errorf("console: %s", complaint)
	}
}
