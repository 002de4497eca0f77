package sampleapp_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"portero/internal/demo/sampleapp"
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

// The WebSocket page and the form work in a real browser under the pages' own policy.
func TestInBrowser(t *testing.T) {
	t.Parallel()
	ctx := browser(t)
	s := server(t, sampleapp.Config{})
	err := chromedp.Do(ctx,
		chromedp.Navigate(s.URL+"/ws"),
		chromedp.SendKeys(chromedp.CSS("#message"), "hola\r"),
		chromedp.WaitVisible(chromedp.CSS("#log li")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#log li").textContent`)); err != nil || got != "hola" {
		t.Errorf("echo: got %q, %v; want hola", got, err)
	}
	err = chromedp.Do(ctx,
		chromedp.Navigate(s.URL+"/form"),
		chromedp.SendKeys(chromedp.CSS("#title"), "una prueba\r"),
		chromedp.WaitVisible(chromedp.CSS("table")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`[...document.querySelectorAll(".typed")].map((e) => e.textContent).join("")`)); err != nil || got != "una prueba" {
		t.Errorf("form: got %q, %v; want what was typed", got, err)
	}
}
