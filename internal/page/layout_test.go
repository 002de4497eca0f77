package page_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/page"
)

// serveSamples serves every sample at /LANG/NAME, with its headers.
func serveSamples(t *testing.T, set *page.Set) *httptest.Server {
	t.Helper()
	samples := map[string]page.Page{}
	for _, lang := range []string{"en", "es"} {
		for _, s := range set.Samples(lang) {
			samples["/"+lang+"/"+s.Name] = s.Page
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := samples[r.URL.Path]
		switch {
		case r.URL.Path == "/favicon.ico": // the page for strangers names no icon
			w.WriteHeader(http.StatusNoContent)
			return
		case !ok:
			set.ServeAsset(w, r)
			return
		}
		if p.ID == page.Waiting {
			// Chromium would follow the header in the middle of the measuring.
			w = noRefresh{w}
		}
		p.Status = http.StatusOK // trouble in the console shall be trouble of the page
		r.Header.Set("Accept-Language", strings.Split(r.URL.Path, "/")[1])
		set.Render(w, r, p)
	}))
	t.Cleanup(srv.Close)
	return srv
}

type noRefresh struct{ http.ResponseWriter }

func (w noRefresh) WriteHeader(status int) {
	w.Header().Del("Refresh")
	w.ResponseWriter.WriteHeader(status)
}

// measured is what the script in the browser found.
type measured struct {
	Width, Scroll, Height int
	Beside                []string // elements that reach beyond the window
	Low                   []string // what must be seen without scrolling and is not
	Small                 []string // controls under 44 by 44
	Orphans               []string // buttons with one word on the second line
	HasH1                 bool
}

const measure = `(() => {
  const out = {Width: innerWidth, Scroll: document.documentElement.scrollWidth, Height: innerHeight, Beside: [], Low: [], Small: [], Orphans: [], HasH1: !!document.querySelector('h1')};
  const say = (e, r) => e.tagName + ' "' + e.textContent.trim().slice(0, 40) + '" ' + [r.left, r.top, r.right, r.bottom].map(Math.round).join(' ');
  for (const e of document.querySelectorAll('body *')) {
    const r = e.getBoundingClientRect();
    if (r.width && (r.right > innerWidth + .5 || r.left < -.5)) out.Beside.push(say(e, r));
  }
  const first = document.querySelector('main .actions > *');
  for (const e of [document.querySelector('h1'), first, document.querySelector('.code')]) {
    if (!e) continue;
    const r = e.getBoundingClientRect();
    if (r.bottom > innerHeight || r.top < 0) out.Low.push(say(e, r));
  }
  for (const e of document.querySelectorAll('button, a.button, footer a, header a')) {
    const r = e.getBoundingClientRect();
    if (r.width < 44 || r.height < 44) out.Small.push(say(e, r));
  }
  for (const e of document.querySelectorAll('button, a.button')) {
    const lines = new Map();
    const walk = document.createTreeWalker(e, NodeFilter.SHOW_TEXT);
    for (let n; n = walk.nextNode();) for (const m of n.data.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(n, m.index); range.setEnd(n, m.index + m[0].length);
      const y = Math.round(range.getBoundingClientRect().top);
      lines.set(y, (lines.get(y) || 0) + 1);
    }
    const counts = [...lines.values()];
    if (counts.length > 1 && counts[counts.length-1] === 1 && counts[0] > 1) out.Orphans.push(say(e, e.getBoundingClientRect()));
  }
  return out;
})()`

func TestLayoutFitsTheSmallestScreen(t *testing.T) {
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{Phone: true})
	set := newSet(t, page.Config{
		Name: "Example Intranet", LogoFile: "testdata/wide.svg", LanguageCookie: "lang",
		Support: page.Support{Name: "Help desk", Email: "help@example.com", URL: "https://help.example.com/", Phone: "+34 900 000 000"},
	})
	plainSet := newSet(t, page.Config{Demo: true})
	for name, set := range map[string]*page.Set{"branded": set, "plain": plainSet} {
		srv := serveSamples(t, set)
		for _, lang := range []string{"en", "es"} {
			for _, sample := range set.Samples(lang) {
				got := look[measured](tab, 320, 640, srv.URL+"/"+lang+"/"+sample.Name, measure)
				where := name + ": " + sample.Name + "." + lang
				if got.Width != 320 || got.Height != 640 || !got.HasH1 {
					t.Fatalf("%s: measured in a window of %d by %d, h1 %v", where, got.Width, got.Height, got.HasH1)
				}
				if got.Scroll > 320 || len(got.Beside) > 0 {
					t.Errorf("%s: scrolls sideways to %d: %s", where, got.Scroll, strings.Join(got.Beside, "; "))
				}
				for what, list := range map[string][]string{
					"needs scrolling": got.Low, "smaller than 44 by 44": got.Small, "one word alone on the second line": got.Orphans,
				} {
					if len(list) > 0 {
						t.Errorf("%s: %s: %s", where, what, strings.Join(list, "; "))
					}
				}
			}
		}
	}
	for _, report := range tab.Console() {
		t.Errorf("console: %s", report)
	}
}

func TestLayoutSurvivesLongNamesAndLargeText(t *testing.T) {
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{Phone: true})
	set := newSet(t, page.Config{
		Name:    strings.Repeat("Verwaltungsdienst ", 3) + "Nord 1", // 60 characters
		Support: page.Support{Name: "Help desk", Email: strings.Repeat("h", 52) + "@help.desk.example.com", Phone: "+34 900 000 000"},
	})
	samples := map[string]page.Page{}
	for _, s := range set.Samples("es") {
		if s.Page.ID == page.UnknownHost {
			continue
		}
		s.Page.Email = strings.Repeat("a", 60) + "@long.mail.example.c" // 80 characters
		s.Page.User = s.Page.Email
		samples["/"+s.Name] = s.Page
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := samples[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		r.Header.Set("Accept-Language", "es")
		set.Render(noRefresh{w}, r, p)
	}))
	defer srv.Close()
	for name := range samples {
		for _, zoom := range []int{16, 32} {
			larger := "document.documentElement.style.fontSize='" + strconv.Itoa(zoom) + "px'"
			got := look[measured](tab, 320, 640, srv.URL+name, larger, measure)
			if got.Scroll > 320 || len(got.Beside) > 0 {
				t.Errorf("%s at %d px: scrolls sideways to %d: %s", name, zoom, got.Scroll, strings.Join(got.Beside, "; "))
			}
			if len(got.Small) > 0 {
				t.Errorf("%s at %d px: too small: %s", name, zoom, strings.Join(got.Small, "; "))
			}
		}
	}
}

func TestLayoutOfTheSmallestFrame(t *testing.T) {
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{Phone: true})
	srv := serveSamples(t, newSet(t, page.Config{Name: "Example Intranet"}))
	for _, lang := range []string{"en", "es"} {
		got := look[measured](tab, 200, 150, srv.URL+"/"+lang+"/framed", measure)
		if got.Scroll > 200 || len(got.Low) > 0 || len(got.Beside) > 0 {
			t.Errorf("framed.%s in 200 by 150: scrolls to %d, beside %v, below %v", lang, got.Scroll, got.Beside, got.Low)
		}
	}
}

func TestTabReachesEachControlInSourceOrder(t *testing.T) {
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{Phone: true})
	set := newSet(t, page.Config{Name: "Example Intranet", Support: page.Support{Email: "help@example.com"}})
	srv := serveSamples(t, set)
	for _, name := range []string{"denied", "account", "sign-out"} {
		want := look[[]string](tab, 390, 844, srv.URL+"/en/"+name, `[...document.querySelectorAll('a,button')].map(e => e.textContent.trim())`)
		var got []string
		for range want {
			tab.Press("\t")
			at := tab.Focus()
			if at.Outline != "3px" {
				t.Errorf("%s: %q has an outline of %s when it has the focus, want 3px", name, at.Text, at.Outline)
			}
			got = append(got, at.Text)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: Tab goes %q, want the source order %q", name, got, want)
		}
	}
}

// look opens the address in a window of that size, runs the scripts and returns what the last of them says.
func look[T any](tab *gatewaytest.Tab, width, height int64, address string, scripts ...string) T {
	tab.Resize(width, height)
	tab.Open(address)
	for _, script := range scripts[:len(scripts)-1] {
		gatewaytest.Eval[any](tab, script)
	}
	return gatewaytest.Eval[T](tab, scripts[len(scripts)-1])
}
