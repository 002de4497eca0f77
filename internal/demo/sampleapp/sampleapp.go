// Package sampleapp is the application behind the demonstration: one that knows nothing of signing in and shows what reaches it.
//
// It owns pages and endpoints that make a proxy's work visible: headers, forms, WebSockets, event streams, slow answers and
// early hints. It does not own any decision: whoever reaches it is served, and every header is believed, as legacy
// applications do. It is for the demonstration and for tests.
//
// Invariants:
//   - What arrived is shown as it arrived: the path as received bytes, the query raw, each value of a header.
//   - Everything that came from a request is escaped, and every answer that waits ends when its client has gone.
//
// Specifications: RFC 8297 (early hints), RFC 6455 (WebSocket), HTML Living Standard section 9.2 (server-sent events).
package sampleapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	// MaxForm is the size of the largest form that is read.
	MaxForm = 10 << 20
	// MaxWait is the longest that /slow waits.
	MaxWait = time.Minute
	// maxMessage is the size of the largest WebSocket message that is echoed.
	maxMessage = 1 << 20
)

// Config says what the application can know of the gateway in front of it.
type Config struct {
	// SetByPortero are the names of the headers that the gateway sets; they are marked as such. Nil: DefaultHeaders.
	SetByPortero []string
	// User, Email and Name are the headers that say who the person is; Name may be percent-encoded. Empty: X-Forwarded-User,
	// X-Forwarded-Email and X-Forwarded-Name.
	User, Email, Name string
	// Prefix is where the gateway's own pages are. Empty: /_portero.
	Prefix string
	// SignOut is the gateway's sign-out. Empty: /sign-out.
	SignOut string
	// Tick makes the pace of /events. Nil: once a second.
	Tick func() (ticks <-chan time.Time, stop func())
	// Now tells the time in events. Nil: time.Now.
	Now func() time.Time
}

// DefaultHeaders returns the names that the gateway sets unless it is configured otherwise.
func DefaultHeaders() []string {
	return []string{
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-Ip", "X-Request-Id",
		"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-Name", "X-Forwarded-Groups",
	}
}

// App is the sample application. It is safe for concurrent use.
type App struct {
	cfg    Config
	marked map[string]bool
	pages  *pages
}

// New returns the application.
func New(cfg Config) *App {
	set := func(field *string, otherwise string) {
		if *field == "" {
			*field = otherwise
		}
	}
	set(&cfg.User, "X-Forwarded-User")
	set(&cfg.Email, "X-Forwarded-Email")
	set(&cfg.Name, "X-Forwarded-Name")
	set(&cfg.Prefix, "/_portero")
	set(&cfg.SignOut, "/sign-out")
	if cfg.SetByPortero == nil {
		cfg.SetByPortero = DefaultHeaders()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tick == nil {
		cfg.Tick = func() (<-chan time.Time, func()) {
			t := time.NewTicker(time.Second)
			return t.C, t.Stop
		}
	}
	a := &App{cfg: cfg, marked: map[string]bool{}, pages: newPages()}
	for _, name := range cfg.SetByPortero {
		a.marked[textproto.CanonicalMIMEHeaderKey(name)] = true
	}
	return a
}

// Handler serves the application. Paths are compared as they are received, since a router that cleans them would hide what a
// gateway forwards.
func (a *App) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path, _ := target(r); {
		case path == "/form":
			a.form(w, r)
		case path == "/ws":
			a.ws(w, r)
		case path == "/events":
			a.events(w, r)
		case path == "/slow":
			a.slow(w, r)
		case path == "/hints":
			a.hints(w, r)
		case path == "/sample.js":
			a.script(w, r)
		case strings.HasSuffix(path, "/headers"):
			a.headers(w, r)
		default:
			a.received(w, r)
		}
	})
}

// target returns path and query as they were received.
func target(r *http.Request) (path, query string) {
	uri := r.RequestURI
	if u := r.URL; u.Scheme != "" && strings.HasPrefix(uri, u.Scheme+"://") { // absolute form
		uri = strings.TrimPrefix(uri, u.Scheme+"://")
		if i := strings.IndexAny(uri, "/?"); i >= 0 {
			uri = uri[i:]
		} else {
			uri = "/"
		}
	}
	path, query, _ = strings.Cut(uri, "?")
	return path, query
}

// allHeaders returns every header that arrived, with Host, which net/http keeps apart.
func allHeaders(r *http.Request) http.Header {
	h := r.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h["Host"] = []string{r.Host}
	return h
}

// headers answers /headers, and every path that ends so, by any method: what arrived, as JSON.
func (a *App) headers(w http.ResponseWriter, r *http.Request) {
	path, query := target(r)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(struct {
		Method  string      `json:"method"`
		Path    string      `json:"path"`
		Query   string      `json:"query"`
		Headers http.Header `json:"headers"`
	}{r.Method, path, query, allHeaders(r)})
}

// person is who the gateway says the request is from.
type person struct{ User, Email, Name string }

func (a *App) person(r *http.Request) person {
	p := person{User: r.Header.Get(a.cfg.User), Email: r.Header.Get(a.cfg.Email), Name: r.Header.Get(a.cfg.Name)}
	if name, err := url.PathUnescape(p.Name); err == nil {
		p.Name = strings.ToValidUTF8(name, "\ufffd")
	}
	return p
}

// form answers /form: GET shows a form, POST shows what was sent.
func (a *App) form(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		a.pages.render(w, r, "form", a.view(r))
		return
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, "the form is sent by POST", http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxForm)
	err := r.ParseForm()
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		err = r.ParseMultipartForm(MaxForm) // all of it in memory, since the body is no larger
	}
	if r.MultipartForm != nil {
		defer r.MultipartForm.RemoveAll()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		http.Error(w, fmt.Sprintf("the form is larger than %d bytes", MaxForm), http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	v := a.view(r)
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			v.Fields = append(v.Fields, field{Name: name, Value: value, Length: len(value)})
		}
	}
	if r.MultipartForm != nil {
		for _, name := range slices.Sorted(maps.Keys(r.MultipartForm.File)) {
			for _, file := range r.MultipartForm.File[name] {
				v.Fields = append(v.Fields, field{Name: name, Value: file.Filename, Length: int(file.Size)})
			}
		}
	}
	a.pages.render(w, r, "sent", v)
}

// ws answers /ws: opened as a page it is a page to try it, else a WebSocket that echoes each message.
func (a *App) ws(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		a.pages.render(w, r, "ws", a.view(r))
		return
	}
	// Whose pages may open it is for the gateway to say; applications of this kind do not ask.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer c.CloseNow()
	c.SetReadLimit(maxMessage)
	for {
		if err := echo(r.Context(), c); err != nil {
			return // the other side has closed, or sent too much, which the library has told it
		}
	}
}

func echo(ctx context.Context, c *websocket.Conn) error {
	kind, message, err := c.Reader(ctx)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	return c.Write(ctx, kind, data)
}

// events answers /events: a stream of one event at once and one at each tick, until the client leaves.
func (a *App) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	ticks, stop := a.cfg.Tick()
	defer stop()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {\"n\":%d,\"time\":%q}\n\n", n, n, a.cfg.Now().UTC().Format(time.RFC3339)); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case _, more := <-ticks:
			if !more {
				return
			}
		}
	}
}

// slow answers /slow?ms=N after N milliseconds, one second without N; not at all when the client leaves before.
func (a *App) slow(w http.ResponseWriter, r *http.Request) {
	wait := time.Second
	if text := r.URL.Query().Get("ms"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms < 0 || time.Duration(ms) > MaxWait/time.Millisecond {
			http.Error(w, fmt.Sprintf("ms is a number from 0 to %d", MaxWait.Milliseconds()), http.StatusBadRequest)
			return
		}
		wait = time.Duration(ms) * time.Millisecond
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
		return
	case <-timer.C:
	}
	v := a.view(r)
	v.Milliseconds = wait.Milliseconds()
	a.pages.render(w, r, "slow", v)
}

// hints answers /hints: 103 with a Link, then the page.
func (a *App) hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</sample.js>; rel=preload; as=script")
	w.WriteHeader(http.StatusEarlyHints)
	a.received(w, r)
}

// received answers every other path: a page of what arrived.
func (a *App) received(w http.ResponseWriter, r *http.Request) {
	v := a.view(r)
	h := allHeaders(r)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			v.Headers = append(v.Headers, header{Name: name, Value: value, Ours: a.marked[name]})
		}
	}
	a.pages.render(w, r, "received", v)
}
