package authflow

import (
	"mime"
	"net/http"
	"strings"

	"portero/internal/page"
)

// Kind is what sort of request needs a sign-in; it decides the answer, never the access.
type Kind uint8

// The kinds. Other is the zero value and starts nothing.
const (
	Other      Kind = iota // scripts, images, prefetches, WebSockets: 401
	Navigation             // a top-level page by GET or HEAD: off to Logto
	Form                   // a same-origin form sent by POST: the page form-not-sent
	Frame                  // a page inside a frame: the page framed
)

// Classify tells what sort of request r is: by Fetch metadata where the browser sends it, else by Accept. Origin is
// the request's own, such as https://wiki.example.com.
func Classify(r *http.Request, origin string) Kind {
	if isPrefetch(r) || r.Header.Get("Upgrade") != "" {
		return Other
	}
	mode, dest, site := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Site")
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if mode == "" && dest == "" && site == "" {
		switch {
		case r.Header.Get("X-Requested-With") != "" || !page.WantsHTML(r):
			return Other
		case get:
			return Navigation
		case r.Method == http.MethodPost && isForm(r) && r.Header.Get("Origin") == origin:
			return Form
		}
		return Other
	}
	if mode != "navigate" {
		return Other
	}
	switch dest {
	case "document":
		if get {
			return Navigation
		}
		if r.Method == http.MethodPost && site == "same-origin" {
			return Form
		}
	case "frame", "iframe":
		return Frame
	}
	return Other
}

// isPrefetch reports whether nobody has asked for the page yet: a prefetch or a prerender.
func isPrefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		v := strings.ToLower(r.Header.Get(name))
		if strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || strings.Contains(v, "preview") {
			return true
		}
	}
	return false
}

// isForm reports whether the body is one that a form element can send.
func isForm(r *http.Request) bool {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return false
	}
	return t == "application/x-www-form-urlencoded" || t == "multipart/form-data" || t == "text/plain"
}

// sameOrigin reports whether a request comes from a page of its own origin, by Fetch metadata, else by Origin. A
// request that tells neither is not.
func sameOrigin(r *http.Request, origin string) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site == "same-origin"
	}
	return r.Header.Get("Origin") == origin
}

// sameOriginNavigation reports whether r is a link of our own origin that somebody followed in a top-level page.
// Without Fetch metadata that cannot be known, so it is not.
func sameOriginNavigation(r *http.Request) bool {
	return !isPrefetch(r) &&
		r.Header.Get("Sec-Fetch-Site") == "same-origin" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" &&
		r.Header.Get("Sec-Fetch-Dest") == "document"
}
