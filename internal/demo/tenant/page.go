package tenant

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Page cuts a list by `page` and `page_size`, 20 where the request names none, and sets the headers that say how much there is. An optional
// page is the whole list where the request names neither. Its error is an *Error.
func Page[T any](w http.ResponseWriter, r *http.Request, all []T, optional bool) ([]T, error) {
	query := r.URL.Query()
	if all == nil {
		all = []T{}
	}
	if optional && query.Get("page") == "" && query.Get("page_size") == "" {
		return all, nil
	}
	page, err := positiveOr(query.Get("page"), 1, 1<<30)
	if err != nil {
		return nil, err
	}
	size, err := positiveOr(query.Get("page_size"), 20, 100)
	if err != nil {
		return nil, err
	}
	pages := (len(all) + size - 1) / size
	if pages == 0 {
		pages = 1
	}
	links := []string{link(r, 1, "first")}
	if page > 1 {
		links = append(links, link(r, page-1, "prev"))
	}
	links = append(links, link(r, pages, "last"))
	if page < pages {
		links = append(links, link(r, page+1, "next"))
	}
	w.Header().Set("Total-Number", strconv.Itoa(len(all)))
	w.Header().Set("Link", strings.Join(links, ", "))
	first := (page - 1) * size
	if page > pages {
		first = len(all)
	}
	return all[first:min(first+size, len(all))], nil
}

func positiveOr(raw string, otherwise, most int) (int, error) {
	if raw == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 1 || n > most {
		return 0, refused("guard.invalid_pagination", "The request pagination value is invalid.")
	}
	return n, nil
}

// link names another page, the other parameters in their order, and without the prefix /api, as Logto does.
func link(r *http.Request, page int, rel string) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	number, found := "page="+strconv.Itoa(page), false
	var pairs []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		switch name, _, _ := strings.Cut(pair, "="); {
		case pair == "":
		case name == "page":
			pairs, found = append(pairs, number), true
		default:
			name, value, _ := strings.Cut(pair, "=")
			pairs = append(pairs, again(name)+"="+again(value))
		}
	}
	if !found {
		pairs = append(pairs, number)
	}
	return fmt.Sprintf("<%s://%s%s?%s>; rel=%q", scheme, r.Host, strings.TrimPrefix(r.URL.Path, "/api"), strings.Join(pairs, "&"), rel)
}

// again decodes and encodes a piece of a query.
func again(piece string) string {
	if plain, err := url.QueryUnescape(piece); err == nil {
		return url.QueryEscape(plain)
	}
	return piece
}
