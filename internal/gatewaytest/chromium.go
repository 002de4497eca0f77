package gatewaytest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

const (
	// chromiumLife is how long one Chromium may run: generous, for a busy machine with two cores and the race detector.
	chromiumLife = 8 * time.Minute
	// chromiumStep is how long one step of a person may take.
	chromiumStep = time.Minute
	// chromiumPace is how often a page is asked whether it is there yet.
	chromiumPace = 20 * time.Millisecond
)

// ShotsVariable names the environment variable with the folder that Tab.Shot writes to. Unset: no screenshots are
// taken.
const ShotsVariable = "PORTERO_TEST_SHOTS"

// Chromium is a real browser with a profile that is gone with the test. Any number of people may use it at once.
type Chromium struct {
	t     testing.TB
	ctx   context.Context
	agent string // what it calls itself, without the word Headless
}

// NewChromium starts one; it ends with the test. A machine without Chromium skips the test, or fails it where
// PORTERO_TEST_REAL=1 asks for the real thing.
func NewChromium(t testing.TB) *Chromium {
	t.Helper()
	return newChromium(t)
}

// Chromium is NewChromium for a program: it finds its hosts where they listen at this moment, and takes its certificate.
// more are other hosts, each as "HOST:PORT ADDRESS".
func (r *Rig) Chromium(t testing.TB, more ...string) *Chromium {
	t.Helper()
	var others string
	for _, host := range more {
		others += ", MAP " + host
	}
	return newChromium(t, chromedp.IgnoreCertErrors,
		chromedp.Flag("host-resolver-rules", "MAP "+Host+":443 "+r.Addr+", MAP "+SecondHost+":443 "+r.Addr+others))
}

func newChromium(t testing.TB, more ...chromedp.ExecAllocatorOption) *Chromium {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile")
	scratch, err := os.MkdirTemp("", "chromium") // short, since sockets are made in it
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(Need(t, "chromium", "chromium-browser", "google-chrome")),
		chromedp.UserDataDir(profile),
		chromedp.Env("HOME="+scratch, "TMPDIR="+scratch), // nothing is left in the folders of who runs the test
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("hide-scrollbars", true),
	)
	options = append(options, more...)
	limit, stop := context.WithTimeout(context.WithoutCancel(t.Context()), chromiumLife)
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
		for end := time.After(10 * time.Second); errors.Join(os.RemoveAll(profile), os.RemoveAll(scratch)) != nil; {
			select {
			case <-end:
				t.Errorf("Chromium's folders %s and %s cannot be removed", profile, scratch)
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting Chromium: %v", err)
	}
	agent, err := chromedp.Run(ctx, chromedp.Evaluate[string]("navigator.userAgent"))
	if err != nil {
		t.Fatalf("asking Chromium what it is: %v", err)
	}
	return &Chromium{t: t, ctx: ctx, agent: strings.Replace(agent, "Headless", "", 1)}
}

// Look is what a person's browser looks like. The zero value is a light window of 1280 by 800 in English.
type Look struct {
	Width, Height int64
	Phone         bool // touch, and the viewport that phones have
	Dark          bool
	Language      string // Accept-Language; "" is en
}

// Tab is one tab of a person, in a window of its own. Every step ends the test when it does not succeed.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	look Look
	made *Chromium

	mu         sync.Mutex
	documents  map[network.RequestID]bool // requests of whole pages
	complaints []complaint
}

// complaint is something the browser said about a request, or about none.
type complaint struct {
	request network.RequestID
	text    string
}

// Person opens the first tab of a new person, who has no cookie yet. The person is gone with the test.
func (c *Chromium) Person(t testing.TB, look Look) *Tab {
	t.Helper()
	return c.tab(t, c.ctx, look, chromedp.WithNewBrowserContext())
}

// NewTab opens another tab of the same person.
func (b *Tab) NewTab() *Tab {
	b.t.Helper()
	return b.made.tab(b.t, b.made.ctx, b.look, chromedp.WithExistingBrowserContext(chromedp.FromContext(b.ctx).BrowserContextID))
}

func (c *Chromium) tab(t testing.TB, parent context.Context, look Look, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	if look.Width == 0 {
		look.Width, look.Height = 1280, 800
	}
	if look.Language == "" {
		look.Language = "en"
	}
	b := &Tab{t: t, look: look, made: c, documents: map[network.RequestID]bool{}}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(b.listen))...)
	b.ctx = ctx
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context of its first step
		t.Fatalf("opening a tab: %v", err)
	}
	b.do("preparing a tab", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err1 := cdp.Call(ctx, t, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: c.agent, AcceptLanguage: look.Language})
		_, err2 := cdp.Call(ctx, t, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
		_, err3 := cdp.Call(ctx, t, audits.Enable, cdp.Empty{})
		return errors.Join(err1, err2, err3)
	}))
	b.Resize(look.Width, look.Height)
	b.Theme(look.Dark)
	return b
}

// Theme makes the person prefer dark or light colours. Nobody here prefers motion: a picture shows what stays.
func (b *Tab) Theme(dark bool) {
	b.t.Helper()
	theme := "light"
	if dark {
		theme = "dark"
	}
	b.do("choosing colours", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	}))
}

// Resize changes the window.
func (b *Tab) Resize(width, height int64) {
	b.t.Helper()
	size := emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: b.look.Phone}
	b.do("resizing", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetDeviceMetricsOverride, size)
		return err
	}))
}

// do runs steps within the time one step may take.
func (b *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, chromiumStep)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v\n%s", what, err, b.where())
	}
}

// where says what the tab shows, for messages.
func (b *Tab) where() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + (document.body ? document.body.innerText.slice(0, 600) : "") + [...document.querySelectorAll("input")].map(e => "\n" + e.name + "=" + e.value + " " + e.validationMessage).join("")`))
	if err != nil {
		return "(the tab does not say where it is: " + err.Error() + ")"
	}
	return "the tab is at " + text + "\nconsole: " + strings.Join(b.Console(), "\n")
}

// Open types an address and waits until its page has loaded.
func (b *Tab) Open(address string) {
	b.t.Helper()
	b.do("opening "+address, chromedp.Navigate(address))
}

// Type types text into a field.
func (b *Tab) Type(selector chromedp.CSS, text string) {
	b.t.Helper()
	b.do("typing into "+string(selector), chromedp.SendKeys(selector, text, chromedp.NodeVisible))
}

// Click presses what the selector names. It does not wait for a page that follows: Await does.
func (b *Tab) Click(selector chromedp.CSS) {
	b.t.Helper()
	b.do("pressing "+string(selector), chromedp.Click(selector, chromedp.NodeVisible))
}

// ClickText presses the visible link or button with that text.
func (b *Tab) ClickText(text string) {
	b.t.Helper()
	quoted, _ := json.Marshal(text)
	b.Await("a control named "+text, `(() => {
  document.querySelectorAll('[data-press]').forEach(e => e.removeAttribute('data-press'));
  const found = [...document.querySelectorAll('a, button, summary')].find(e => (e.getAttribute('aria-label') || e.textContent).trim() === `+string(quoted)+`);
  if (found) found.setAttribute('data-press', '');
  return !!found;
})()`)
	b.Click("[data-press]")
}

// ClickNewTab presses a link that opens a tab, and returns that tab. What its first page said in the console before it
// could be listened to is not recorded.
func (b *Tab) ClickNewTab(selector chromedp.CSS) *Tab {
	b.t.Helper()
	opened := chromedp.WaitNewTarget(b.ctx, func(info *target.Info) bool { return info.Type == "page" })
	b.Click(selector)
	select {
	case id := <-opened:
		return b.made.tab(b.t, b.made.ctx, b.look, chromedp.WithTargetID(id))
	case <-time.After(chromiumStep):
		b.t.Fatalf("pressing %s opened no tab\n%s", selector, b.where())
	}
	return nil
}

// Press presses keys, as if on a keyboard.
func (b *Tab) Press(keys string) {
	b.t.Helper()
	b.do(fmt.Sprintf("pressing %q", keys), chromedp.KeyEvent(keys))
}

// Focused is what has the focus.
type Focused struct{ Text, Outline string }

// Focus is the text of what has the focus, and how wide its outline is.
func (b *Tab) Focus() Focused {
	b.t.Helper()
	return Eval[Focused](b, `(e => ({Text: e.textContent.trim(), Outline: getComputedStyle(e).outlineWidth}))(document.activeElement)`)
}

// WaitVisible waits until something can be seen.
func (b *Tab) WaitVisible(selector chromedp.CSS) {
	b.t.Helper()
	b.do("waiting for "+string(selector), chromedp.WaitVisible(selector))
}

// Await waits until a script says true, on whichever page the tab is by then.
func (b *Tab) Await(what, script string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, chromiumStep)
	defer cancel()
	for {
		// A page that is just being left answers with an error: the next one is asked.
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script)); err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			b.t.Fatalf("waiting for %s: not there after %v\n%s", what, chromiumStep, b.where())
		case <-time.After(chromiumPace):
		}
	}
}

// AwaitHeading waits for a page that has loaded and whose h1 is this.
func (b *Tab) AwaitHeading(heading string) {
	b.t.Helper()
	quoted, _ := json.Marshal(heading)
	b.Await("the heading "+heading, `document.readyState === 'complete' && document.querySelector('h1')?.textContent.trim() === `+string(quoted))
}

// AwaitURL waits until the tab shows an address and the page has loaded.
func (b *Tab) AwaitURL(address string) {
	b.t.Helper()
	quoted, _ := json.Marshal(address)
	b.Await("the address "+address, `document.readyState === 'complete' && location.href === `+string(quoted))
}

// Text is the text of the first element that matches.
func (b *Tab) Text(selector chromedp.CSS) string {
	b.t.Helper()
	quoted, _ := json.Marshal(string(selector))
	return Eval[string](b, `(e => e ? e.textContent.trim() : '')(document.querySelector(`+string(quoted)+`))`)
}

// Heading is the text of the h1.
func (b *Tab) Heading() string {
	b.t.Helper()
	return b.Text("h1")
}

// URL is the address the tab shows.
func (b *Tab) URL() string {
	b.t.Helper()
	return Eval[string](b, "location.href")
}

// Eval runs a script in the page and returns its value.
func Eval[T any](b *Tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, chromiumStep)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", script, err, b.where())
	}
	return v
}

// Back goes one page back.
func (b *Tab) Back() {
	b.t.Helper()
	b.do("going back", chromedp.NavigateBack())
}

// Reload loads the page again; a form that was posted is posted again, as if the person had confirmed that.
func (b *Tab) Reload() {
	b.t.Helper()
	b.do("reloading", chromedp.Reload())
}

// Cookies are the person's cookies for an address, by name.
func (b *Tab) Cookies(address string) map[string]string {
	b.t.Helper()
	out := map[string]string{}
	b.do("reading cookies", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		got, err := cdp.Call(ctx, t, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
		for _, c := range got.Cookies {
			out[c.Name] = c.Value
		}
		return err
	}))
	return out
}

// Picture is what the window shows, as PNG.
func (b *Tab) Picture() []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, chromiumStep)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatalf("taking a picture: %v\n%s", err, b.where())
	}
	return picture
}

// Shot writes what the window shows to NAME.png in the folder of PORTERO_TEST_SHOTS, for people to look at.
func (b *Tab) Shot(name string) {
	b.t.Helper()
	folder := os.Getenv(ShotsVariable)
	if folder == "" {
		return
	}
	file := filepath.Join(folder, name+".png")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, b.Picture(), 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// Console is what the browser complained about since the tab was opened: errors and warnings, uncaught exceptions, and
// what breaks a page's policy. That a page answered with its own status (401, 403 …) is no complaint.
func (b *Tab) Console() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for _, c := range b.complaints {
		if c.request == "" || !b.documents[c.request] {
			out = append(out, c.text)
		}
	}
	return out
}

func (b *Tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	complain := func(request network.RequestID, format string, args ...any) {
		b.complaints = append(b.complaints, complaint{request, fmt.Sprintf(format, args...)})
	}
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument {
			b.documents[e.RequestID] = true
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			complain(e.Entry.NetworkRequestID, "%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *cdpruntime.EventExceptionThrown:
		complain("", "exception: %s", e.ExceptionDetails.Text)
	case *cdpruntime.EventConsoleAPICalled:
		if e.Type == cdpruntime.ConsoleAPICalledTypeError || e.Type == cdpruntime.ConsoleAPICalledTypeWarning {
			text, _ := json.Marshal(e.Args)
			complain("", "%s: %s", e.Type, text)
		}
	case *audits.EventIssueAdded:
		// Bounce tracking is any redirect over another site, as signing in is; an entry that is skipped on the way
		// back is a page on which nothing was pressed.
		details, _ := json.Marshal(e.Issue.Details)
		if e.Issue.Code != audits.InspectorIssueCodeBounceTrackingIssue && !strings.Contains(string(details), "NavigationEntryMarkedSkippable") {
			complain("", "issue: %s %s", e.Issue.Code, details)
		}
	}
}
