package management_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"portero/internal/management"
)

// roles are the JSON of roles with these numbers as ids.
func roles(from, to int) string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf(`{"id":"r%d","name":"n%d"}`, i, i))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func TestPages(t *testing.T) {
	t.Parallel()
	// paged is a Logto that has n roles and gives up to most at a time; what it says of their number is total, "": nothing.
	paged := func(n, most int, total string) func(page, size int) reply {
		return func(page, size int) reply {
			size = min(size, most)
			h := http.Header{}
			if total != "" {
				h.Set("total-number", total)
			}
			return reply{status: 200, header: h, body: roles(min(n, (page-1)*size), min(n, page*size))}
		}
	}
	whole := func(n int) func(int, int) reply {
		return func(int, int) reply { return reply{status: 200, body: roles(0, n)} }
	}
	for name, tt := range map[string]struct {
		answer   func(page, size int) reply
		want     int // -1: an error
		requests int
	}{
		"none":                           {paged(0, 100, "0"), 0, 1},
		"none, and no number":            {paged(0, 100, ""), 0, 1},
		"one page":                       {paged(42, 100, "42"), 42, 1},
		"one page, and no number":        {paged(42, 100, ""), 42, 1},
		"a full page":                    {paged(100, 100, "100"), 100, 1},
		"a full page, and no number":     {paged(100, 100, ""), 100, 2},
		"one more":                       {paged(101, 100, "101"), 101, 2},
		"three pages":                    {paged(250, 100, "250"), 250, 3},
		"three pages, and no number":     {paged(250, 100, ""), 250, 3},
		"smaller pages than were asked":  {paged(45, 20, "45"), 45, 3},
		"pages are ignored":              {whole(42), 42, 1},
		"pages are ignored, a full one":  {whole(100), 100, 2},
		"pages are ignored, many":        {whole(250), 250, 1},
		"a number that is too large":     {paged(42, 100, "1000"), 42, 2},
		"a number that is none":          {paged(42, 100, "many"), 42, 1},
		"as many as are read":            {paged(10000, 100, "10000"), 10000, 100},
		"more than are read":             {paged(10001, 100, "10001"), -1, 100},
		"more than are read, one by one": {paged(1000, 1, "1000"), -1, 100},
		"one is added meanwhile": {func(page, size int) reply {
			// newest first: on the second page stands what was the last of the first
			return reply{status: 200, header: http.Header{"Total-Number": {"151"}}, body: map[int]string{1: roles(0, 100), 2: roles(99, 150), 3: `[]`}[page]}
		}, 150, 3},
		"a page that fails": {func(page, size int) reply {
			if page == 2 {
				return reply{status: 503}
			}
			return paged(250, 100, "250")(page, size)
		}, -1, 2},
		"a page that tells nothing": {func(page, size int) reply {
			if page == 2 {
				return reply{status: 200, body: `null`}
			}
			return paged(250, 100, "250")(page, size)
		}, -1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{}
			w.answer = func(r *http.Request, _ string) (reply, bool) {
				if r.URL.Path != "/api/roles" {
					return reply{}, false
				}
				q := r.URL.Query()
				page, err := strconv.Atoi(q.Get("page"))
				size, err2 := strconv.Atoi(q.Get("page_size"))
				if err != nil || err2 != nil || size > 100 || q.Get("type") != "User" {
					t.Errorf("got the query %s", r.URL.RawQuery)
				}
				return tt.answer(page, size), true
			}
			got, err := w.client(nil).Roles(t.Context())
			if (err == nil) != (tt.want >= 0) || err == nil && len(got) != tt.want || err != nil && got != nil {
				t.Errorf("got %d roles, %v, want %d", len(got), err, tt.want)
			}
			for i, r := range got {
				if r.ID != fmt.Sprintf("r%d", i) {
					t.Fatalf("role %d is %s", i, r.ID)
				}
			}
			if len(w.requests) != tt.requests {
				t.Errorf("got %d requests, want %d", len(w.requests), tt.requests)
			}
		})
	}
}

func TestUserByEmail(t *testing.T) {
	t.Parallel()
	const others = `{"id":"u9","primaryEmail":null},{"id":"u8","primaryEmail":"other@example.com"},`
	for name, tt := range map[string]struct {
		address, answer string
		want            string // id; "": ErrNotFound
	}{
		"the one":                     {"ana@example.com", `[{"id":"u1","primaryEmail":"ana@example.com"}]`, "u1"},
		"nobody":                      {"ana@example.com", `[]`, ""},
		"in another case":             {"Ana@Example.com", `[{"id":"u1","primaryEmail":"ana@example.com"}]`, "u1"},
		"the exact one first":         {"Ana@example.com", `[{"id":"u1","primaryEmail":"ana@example.com"},{"id":"u2","primaryEmail":"Ana@example.com"}]`, "u2"},
		"the search was ignored":      {"ana@example.com", `[` + others + `{"id":"u1","primaryEmail":"ana@example.com"}]`, "u1"},
		"ignored, and nobody":         {"ana@example.com", `[` + others + `{"id":"u1","primaryEmail":"bana@example.com"}]`, ""},
		"letters of another alphabet": {"ana@example.com", `[{"id":"u1","primaryEmail":"аna@example.com"}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answer: always(reply{status: 200, body: tt.answer})}
			got, err := w.client(nil).UserByEmail(t.Context(), tt.address)
			if got.ID != tt.want || errors.Is(err, management.ErrNotFound) != (tt.want == "") || err != nil && tt.want != "" {
				t.Errorf("got %+v, %v, want %q", got, err, tt.want)
			}
		})
	}
	for _, address := range []string{"", "ana", strings.Repeat("a", 400) + "@example.com"} {
		w := &wire{answer: always(reply{status: 200, body: `[{"id":"u1","primaryEmail":""}]`})}
		if u, err := w.client(nil).UserByEmail(t.Context(), address); !errors.Is(err, management.ErrNotFound) || u.ID != "" || len(w.requests) != 0 {
			t.Errorf("%.10q: got %+v, %v, %q, want that nobody is asked for", address, u, err, w.requests)
		}
	}
	w := &wire{answer: always(reply{status: 200, body: `[]`})}
	w.client(nil).UserByEmail(t.Context(), "a+b&page=9@example.com")
	if want := "GET /api/users?mode.primaryEmail=exact&page=1&page_size=100&search.primaryEmail=a%2Bb%26page%3D9%40example.com"; len(w.requests) != 1 || w.requests[0] != want {
		t.Errorf("got %q, want %s", w.requests, want)
	}
}
