package page_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"portero/internal/page"
)

// A person with very many sessions sees those that were used last, this one first, and how many more there are.
func TestManySessions(t *testing.T) {
	t.Parallel()
	set := newSet(t, page.Config{Name: "Wiki"})
	for _, tt := range []struct {
		lang, more string
		count      int
	}{
		{"en", "", 10}, {"en", "And 1 more, used longer ago.", 11}, {"en", "And 1,990 more, used longer ago.", 2000},
		{"es", "", 10}, {"es", "Y 1 más, con un uso menos reciente.", 11}, {"es", "Y 1\u202f990 más, con un uso menos reciente.", 2000},
	} {
		a := &page.Account{Email: "ana@example.com", SignOutURL: "/sign-out", EndURL: "/end"}
		for i := range tt.count { // the one that asks was used least lately of all
			a.Sessions = append(a.Sessions, page.AccountSession{
				ID: fmt.Sprint(i), Device: fmt.Sprintf("Device %d", i), LastUsed: now().Add(-time.Duration(tt.count-i) * time.Hour), This: i == 0,
			})
		}
		body := render(set, request(tt.lang), page.Page{ID: page.AccountPage, Account: a}).Body
		if body.Len() > 12<<10 {
			t.Errorf("%s with %d: %d bytes", tt.lang, tt.count, body.Len())
		}
		main := one(t, parse(t, body.Bytes()), "main")
		rows := all(main, tag("li"))
		if len(rows) != 10 || !strings.HasPrefix(text(rows[0]), "Device 0 ") || !strings.HasPrefix(text(rows[1]), fmt.Sprintf("Device %d ", tt.count-1)) {
			t.Errorf("%s with %d: got %d rows, the first two %q and %q", tt.lang, tt.count, len(rows), text(rows[0]), text(rows[1]))
		}
		var more string
		for n := one(t, main, "ul").NextSibling; n != nil && more == ""; n = n.NextSibling {
			if n.Type == html.ElementNode && n.Data == "p" {
				more = strings.Trim(text(n), " \n")
			}
		}
		if want := strings.Join(strings.Fields(tt.more), " "); more != want {
			t.Errorf("%s with %d: got %q, want %q", tt.lang, tt.count, more, want)
		}
		if others := all(main, func(n *html.Node) bool { return attr(n, "name") == "others" }); len(others) != 1 {
			t.Errorf("%s with %d: %d buttons for the others, want one", tt.lang, tt.count, len(others))
		}
	}
}
