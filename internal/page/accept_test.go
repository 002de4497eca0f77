package page_test

import (
	"net/http/httptest"
	"testing"

	"portero/internal/page"
)

func TestWhoReadsWhat(t *testing.T) {
	t.Parallel()
	const none, navigate, cors = "", "navigate", "cors"
	for _, c := range []struct {
		name       string
		accept     []string
		mode       string
		html, json bool
	}{
		{"no header", nil, none, false, false},
		{"no header, navigation", nil, navigate, true, false},
		{"empty header", []string{""}, none, false, false},
		{"browser", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, navigate, true, false},
		{"browser without Fetch metadata", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, none, true, false},
		{"anything", []string{"*/*"}, none, false, false},
		{"anything, by script", []string{"*/*"}, cors, false, false},
		{"anything, navigation", []string{"*/*"}, navigate, true, false},
		{"any text", []string{"text/*"}, none, false, false},
		{"any text, navigation", []string{"text/*"}, navigate, true, false},
		{"refuses everything, navigation", []string{"*/*;q=0"}, navigate, false, false},
		{"JSON", []string{"application/json"}, cors, false, true},
		{"JSON, navigation", []string{"application/json"}, navigate, false, true},
		{"JSON of a library", []string{"application/json, text/plain, */*"}, cors, false, true},
		{"JSON with a name", []string{"application/vnd.api+json"}, none, false, true},
		{"JSON upper case", []string{"Application/JSON"}, none, false, true},
		{"text that ends in json", []string{"text/x+json"}, none, false, false},
		{"HTML before JSON at the same quality", []string{"text/html, application/json"}, none, true, false},
		{"JSON before HTML at the same quality", []string{"application/json, text/html"}, none, false, true},
		{"JSON better by quality", []string{"text/html;q=0.8, application/json;q=0.9"}, none, false, true},
		{"HTML better by quality", []string{"application/json;q=0.1, text/html;q=0.2"}, none, true, false},
		{"HTML refused", []string{"text/html;q=0, application/json"}, none, false, true},
		{"HTML refused, anything else", []string{"text/html;q=0, */*"}, navigate, false, false},
		{"JSON refused", []string{"application/json;q=0, text/html"}, none, true, false},
		{"JSON refused, nothing else", []string{"application/json;q=0.000"}, none, false, false},
		{"two lines", []string{"application/json;q=0.5", "text/html"}, none, true, false},
		{"parameter before quality", []string{"text/html;level=1;q=0.3, application/json;q=0.4"}, none, false, true},
		{"quality out of range", []string{"text/html;q=2, application/json;q=0.1"}, none, false, true},
		{"picture", []string{"image/avif,image/webp,*/*;q=0.8"}, "no-cors", false, false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for _, line := range c.accept {
			r.Header.Add("Accept", line)
		}
		if c.mode != "" {
			r.Header.Set("Sec-Fetch-Mode", c.mode)
		}
		if got := page.WantsHTML(r); got != c.html {
			t.Errorf("%s: WantsHTML %v, want %v", c.name, got, c.html)
		}
		if got := page.WantsJSON(r); got != c.json {
			t.Errorf("%s: WantsJSON %v, want %v", c.name, got, c.json)
		}
	}
}
