package page

import (
	"net/http"
	"strconv"
	"strings"
)

// maxHeader is how much of an Accept or Accept-Language header is read.
const maxHeader = 2048

// WantsHTML says whether the request comes from someone who reads HTML: the Accept
// header names it, with a quality above zero and not below that of JSON. A wildcard
// is enough only for a navigation by Fetch metadata, since scripts and command line
// tools send it too.
func WantsHTML(r *http.Request) bool {
	a := readAccept(r)
	if a.html > 0 {
		return a.json < a.html || a.json == a.html && a.htmlFirst
	}
	return !a.htmlNamed && a.json <= a.any && a.any > 0 && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// WantsJSON says whether the Accept header names JSON (application/json or a +json
// type) and prefers it to HTML.
func WantsJSON(r *http.Request) bool {
	return readAccept(r).json > 0 && !WantsHTML(r)
}

// accept holds the qualities that a request gives to the types we can answer with.
type accept struct {
	html, json, any int // thousandths; 0: not wanted
	htmlNamed       bool
	htmlFirst       bool
}

func readAccept(r *http.Request) accept {
	var a accept
	lines := r.Header["Accept"]
	if len(lines) == 0 {
		a.any = 1000 // RFC 9110 12.5.1: no header, any type
	}
	eachQuality(lines, func(item string, q int) {
		switch {
		case item == "text/html" || item == "application/xhtml+xml":
			a.htmlFirst = a.htmlFirst || !a.htmlNamed && a.json == 0
			a.htmlNamed = true
			a.html = max(a.html, q)
		case item == "application/json" || strings.HasPrefix(item, "application/") && strings.HasSuffix(item, "+json"):
			a.json = max(a.json, q)
		case item == "*/*" || item == "text/*":
			a.any = max(a.any, q)
		}
	})
	return a
}

// eachQuality walks the items of a list header with their qualities in thousandths.
// A quality that cannot be read counts as zero: the item is not wanted.
func eachQuality(lines []string, yield func(item string, q int)) {
	budget := maxHeader
	for _, line := range lines {
		if len(line) > budget {
			line = line[:budget]
		}
		budget -= len(line)
		for element := range strings.SplitSeq(line, ",") {
			item, params, _ := strings.Cut(element, ";")
			item = strings.ToLower(strings.TrimSpace(item))
			if item == "" {
				continue
			}
			q := 1000
			for param := range strings.SplitSeq(params, ";") {
				name, value, ok := strings.Cut(strings.TrimSpace(param), "=")
				if ok && strings.EqualFold(strings.TrimSpace(name), "q") {
					q = quality(strings.TrimSpace(value))
				}
			}
			yield(item, q)
		}
	}
}

func quality(s string) int {
	if s == "" || len(s) > 5 || s[0] != '0' && s[0] != '1' {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1 {
		return 0
	}
	return int(f*1000 + .5)
}
