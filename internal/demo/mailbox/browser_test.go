package mailbox_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/mailbox"
)

// browser returns a context for a real browser.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("PORTERO_TEST_REAL") == "1" {
			t.Fatal("no Chromium on this machine, and PORTERO_TEST_REAL=1 asks for it")
		}
		t.Skip("no Chromium on this machine")
	}
	profile := filepath.Join(t.TempDir(), "profile")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
	)
	limit, stop := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	alloc, stopAlloc := chromedp.NewExecAllocator(limit, options...)
	ctx, stopTab := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Logf("closing Chromium: %v", err)
		}
		stopTab()
		stopAlloc()
		stop()
		// Its children write for a moment after it has ended.
		for end := time.After(10 * time.Second); os.RemoveAll(profile) != nil; {
			select {
			case <-end:
				return // the folder around it will say so
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	return ctx
}

func evaluate[T any](t *testing.T, ctx context.Context, expression string) T {
	t.Helper()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// New mail appears by itself; what was open stays open, focus stays where it was, and a mail's HTML gets nowhere.
func TestNewMailArrives(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	h := mailbox.New(mailbox.Config{APIKey: key}).Handler()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "subject", "111111 is your code", "text", "one")
	err := chromedp.Do(ctx,
		chromedp.Navigate(server.URL),
		chromedp.Evaluate[chromedp.Void](`void (window.reports = [], addEventListener("securitypolicyviolation", (e) => reports.push(e.violatedDirective)))`),
		chromedp.Click(chromedp.CSS("#mail-1 summary")),
		chromedp.Focus(chromedp.CSS("#mail-1 summary")),
	)
	if err != nil {
		t.Fatal(err)
	}
	send(t, h, "from", "x@mg.example.com", "to", "b@example.com", "subject", "222222 is your code", "html", "<p>222222</p><script>parent.document.title='x'</script>")
	if err := chromedp.Do(ctx, chromedp.WaitVisible(chromedp.CSS("#mail-2 .code"))); err != nil {
		t.Fatal(err)
	}
	if got := evaluate[string](t, ctx, `document.activeElement.closest("li").id`); got != "mail-1" {
		t.Errorf("focus after new mail: got %s, want mail-1", got)
	}
	if !evaluate[bool](t, ctx, `document.querySelector("#mail-1 details").open`) {
		t.Error("what was open has been closed by new mail")
	}
	if diff := cmp.Diff([]string{"222222", "111111"}, evaluate[[]string](t, ctx, `[...document.querySelectorAll(".code")].map((e) => e.textContent)`)); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if err := chromedp.Do(ctx, chromedp.Click(chromedp.CSS("#mail-2 summary")), chromedp.WaitVisible(chromedp.CSS("#mail-2 iframe"))); err != nil {
		t.Fatal(err)
	}
	if got := evaluate[string](t, ctx, `document.title`); got != "Mailbox · Portero" {
		t.Errorf("title: got %q, which a mail's script has set", got)
	}
	if !evaluate[bool](t, ctx, `document.querySelector("iframe").contentDocument === null`) {
		t.Error("a mail's HTML shares the mailbox's origin")
	}
	if got := evaluate[[]string](t, ctx, `reports`); len(got) > 0 {
		t.Errorf("the page breaks its own policy: %q", got)
	}
}
