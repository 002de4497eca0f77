package demo_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// start runs a demonstration on free ports until the test ends.
func start(t *testing.T, c demo.Config) *demo.Demo {
	t.Helper()
	c.PortBase = -1
	d, err := demo.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the demonstration ended with %v", err)
		}
	})
	return d
}

// form reads the first form of a page: where it posts to, and its fields.
func form(t *testing.T, r *gatewaytest.Response) (string, url.Values) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(r.Text))
	if err != nil {
		t.Fatal(err)
	}
	fields, action, found := url.Values{}, "", false
	attr := func(n *html.Node, key string) string {
		for _, a := range n.Attr {
			if a.Key == key {
				return a.Val
			}
		}
		return ""
	}
	var walk func(n *html.Node, inside bool)
	walk = func(n *html.Node, inside bool) {
		if n.Type == html.ElementNode && n.Data == "form" && !found {
			found, inside = true, true
			action = attr(n, "action")
		}
		if inside && n.Type == html.ElementNode && n.Data == "input" && attr(n, "name") != "" {
			fields.Set(attr(n, "name"), attr(n, "value"))
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, inside)
		}
	}
	walk(doc, false)
	if !found {
		t.Fatalf("no form on %s:\n%s", r.Request.URL, r.Text)
	}
	to, err := r.Request.URL.Parse(action)
	if err != nil {
		t.Fatal(err)
	}
	return to.String(), fields
}

// code reads the newest code for an address from the mailbox.
func code(t *testing.T, b *gatewaytest.Browser, d *demo.Demo, address string) string {
	t.Helper()
	r := b.Get(d.Addresses.Mailbox + "/api/messages?to=" + url.QueryEscape(address))
	var mails []struct{ Code string }
	if err := json.Unmarshal([]byte(r.Text), &mails); err != nil || len(mails) == 0 {
		t.Fatalf("mailbox for %s: %v\n%s", address, err, r.Text)
	}
	return mails[0].Code
}

// signIn goes through the provider's two forms.
func signIn(t *testing.T, b *gatewaytest.Browser, d *demo.Demo, r *gatewaytest.Response, address string) *gatewaytest.Response {
	t.Helper()
	to, fields := form(t, r)
	fields.Set("identifier", address)
	r = b.Follow(b.Post(to, fields))
	to, fields = form(t, r)
	fields.Set("code", code(t, b, d, address))
	return b.Follow(b.Post(to, fields))
}

func TestStory(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
	asked := d.Addresses.Gateway + "/reports/headers?year=2026&q=a%2Bb"
	last := signIn(t, b, d, b.Visit(asked), "ana@example.com")
	if last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
		t.Fatalf("after signing in: got %s at %s, want 200 at %s\n%s", last.Status, last.Request.URL, asked, last.Text)
	}
	var seen struct {
		Path, Query string
		Headers     map[string][]string
	}
	if err := json.Unmarshal([]byte(last.Text), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Path != "/reports/headers" || seen.Query != "year=2026&q=a%2Bb" || len(seen.Headers["X-Forwarded-Email"]) != 1 || seen.Headers["X-Forwarded-Email"][0] != "ana@example.com" {
		t.Errorf("the application saw %+v", seen)
	}
	if got := b.Get(d.Addresses.Gateway + "/admin/"); got.StatusCode != http.StatusForbidden {
		t.Errorf("/admin/ without the role: got %s, want 403", got.Status)
	}
	if got := b.Get(d.Addresses.Gateway + "/public/"); got.StatusCode != http.StatusOK {
		t.Errorf("/public/: got %s, want 200", got.Status)
	}
	out := b.Follow(b.Post(d.Addresses.Gateway+"/sign-out", nil))
	to, fields := form(t, out) // the provider's page posts itself in a browser
	out = b.Follow(b.Post(to, fields))
	if out.StatusCode != http.StatusOK || !strings.Contains(out.Text, "You are signed out") {
		t.Fatalf("after signing out: got %s at %s\n%s", out.Status, out.Request.URL, out.Text)
	}
	if got := b.Visit(asked); !strings.HasPrefix(got.Request.URL.String(), d.Addresses.Provider) {
		t.Errorf("asking again: landed on %s, want the provider", got.Request.URL)
	}
}

func TestAdminRole(t *testing.T) {
	t.Parallel()
	d := start(t, demo.Config{})
	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(d.Addresses.Gateway, "localhost", "127.0.0.1", 1), "http://")})
	asked := d.Addresses.Gateway + "/admin/"
	if last := signIn(t, b, d, b.Visit(asked), "root@admin.example"); last.StatusCode != http.StatusOK || last.Request.URL.String() != asked {
		t.Errorf("got %s at %s, want 200 at %s", last.Status, last.Request.URL, asked)
	}
}
