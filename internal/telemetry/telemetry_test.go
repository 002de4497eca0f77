package telemetry_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"portero/internal/telemetry"
)

// recorded runs one request through a Recorder and returns the answer and the
// access lines.
func recorded(t *testing.T, rec *telemetry.Recorder, r *http.Request, h http.HandlerFunc) (*httptest.ResponseRecorder, []map[string]any) {
	t.Helper()
	var out bytes.Buffer
	rec.Log = telemetry.NewLogger(telemetry.LogConfig{Writer: &out})
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				t.Errorf("the recorder let %v through", p)
			}
		}()
		rec.Wrap(h).ServeHTTP(w, r)
	}()
	return w, parse(t, out.String())
}

func parse(t *testing.T, out string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(out) {
		if len(line) > 8<<10 {
			t.Errorf("a line has %d bytes, want 8 KiB at most", len(line))
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q is no JSON line: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

func TestAccessLine(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rec := &telemetry.Recorder{Access: true, Now: func() time.Time {
		clock = clock.Add(1500 * time.Microsecond)
		return clock
	}}
	r := httptest.NewRequest("POST", "/reports?token=canary", nil)
	r.Host = "wiki.example.com"
	r.Header.Set("Cookie", "c=canary")
	r.RemoteAddr = "192.0.2.7:1234"
	_, lines := recorded(t, rec, r, func(w http.ResponseWriter, r *http.Request) {
		x := telemetry.FromContext(r.Context())
		x.Route, x.Decision, x.Reason, x.Subject = "wiki", "allow", "rule", "alice"
		x.SessionID, x.RequestID, x.Upstream, x.Code = "s1", "r1", "127.0.0.1:8080", "7K3F-Q9XM"
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "hello")
	})
	want := []map[string]any{{
		"level": "INFO", "msg": "request", "method": "POST", "host": "wiki.example.com", "path": "/reports",
		"status": 201.0, "bytes": 5.0, "duration_ms": 1.5, "client": "192.0.2.7", "route": "wiki", "decision": "allow",
		"reason": "rule", "subject": "alice", "session": "s1", "support_code": "7K3F-Q9XM", "request_id": "r1", "upstream": "127.0.0.1:8080",
	}}
	for _, l := range lines {
		delete(l, "time")
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("access line (-want +got):\n%s", diff)
	}
}

func TestWhichRequestsHaveALine(t *testing.T) {
	t.Parallel()
	quiet := func(w http.ResponseWriter, r *http.Request) { telemetry.FromContext(r.Context()).Quiet = true }
	fine := func(http.ResponseWriter, *http.Request) {}
	coded := func(w http.ResponseWriter, r *http.Request) { telemetry.FromContext(r.Context()).SupportCode() }
	wrong := func(w http.ResponseWriter, r *http.Request) {
		x := telemetry.FromContext(r.Context())
		x.Quiet, x.Err = true, errors.New("store is gone")
	}
	tests := map[string]struct {
		access bool
		h      http.HandlerFunc
		want   int
	}{
		"a quiet one has none":                    {true, quiet, 0},
		"none without an access log":              {false, fine, 0},
		"one with an access log":                  {true, fine, 1},
		"a support code is found in every log":    {false, coded, 1},
		"an error is, even of a quiet request":    {false, wrong, 1},
		"an error is, with an access log as well": {true, wrong, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, lines := recorded(t, &telemetry.Recorder{Access: tt.access}, httptest.NewRequest("GET", "/", nil), tt.h)
			if len(lines) != tt.want {
				t.Errorf("got %d lines, want %d: %v", len(lines), tt.want, lines)
			}
		})
	}
}

// LG-04: whatever a client sends, a request is one line of 8 KiB at most.
func TestHostileValuesStayOneLine(t *testing.T) {
	t.Parallel()
	hostile := strings.Repeat("\n\x1b[2J\u2028\u009b2J\u0085\x7f\u202e\xff\x00<&>\"\\ \\x1b[2J é😀", 64<<10)
	tests := map[string]telemetry.LogConfig{
		"json":             {Format: "json"},
		"text in a file":   {Format: "text"},
		"text on a screen": {Terminal: true},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			c.Writer = &out
			log := telemetry.NewLogger(c)
			log.With("given", hostile, "too", hostile, "three", hostile, "four", hostile).Info(hostile, "a", hostile, "b", errors.New(hostile), "c", []string{hostile}, "d", hostile,
				"e", hostile, "f", hostile, "g", func() {}, slog.Group("h", "i", hostile, "j", map[string]string{"k": hostile}), "last", 7)
			got := out.String()
			if n := strings.Count(got, "\n"); n != 1 || !strings.HasSuffix(got, "\n") {
				t.Errorf("got %d lines, want one", n)
			}
			colours := regexp.MustCompile("\x1b\\[[0-9;]*m") // the ones tint paints with
			if strings.ContainsAny(colours.ReplaceAllString(got, ""), "\x1b\x00\u2028\u009b\u0085\x7f\u202e") {
				t.Error("control characters are not escaped")
			}
			if len(got) > 8<<10 {
				t.Errorf("got a line of %d bytes, want 8 KiB at most", len(got))
			}
			if c.Format == "json" {
				if m := parse(t, got)[0]; m["last"] != 7.0 || m["a"] == "" || m["a"] == nil {
					t.Errorf("values are lost: %v", m)
				}
			}
		})
	}
}

func TestOneLongAttributeIsCutAtTwoKiB(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.NewLogger(telemetry.LogConfig{Writer: &out})
	log.Info("m", "path", strings.Repeat("é", 4000), "exact", strings.Repeat("x", 2<<10), "whole", "kept")
	m := parse(t, out.String())[0]
	path := m["path"].(string)
	if len(path) > 2<<10 || !strings.HasSuffix(path, "é…") {
		t.Errorf("got %d bytes ending in %q, want at most 2 KiB and the mark", len(path), path[len(path)-6:])
	}
	if m["whole"] != "kept" {
		t.Errorf("got %v, want a short neighbour untouched", m["whole"])
	}
}

func TestDurationsReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := telemetry.NewLogger(telemetry.LogConfig{Writer: &out, Format: format})
		log.With("given", 90*time.Second).Info("m", "delay", time.Second, slog.Group("g", "in", 1500*time.Millisecond))
		for _, want := range []string{"1m30s", "1s", "1.5s"} {
			if got := out.String(); !strings.Contains(got, want) {
				t.Errorf("%s: got %s, want %s in it", format, got, want)
			}
		}
		if strings.Contains(out.String(), "00000") {
			t.Errorf("%s: got nanoseconds: %s", format, out.String())
		}
	}
}

func TestLevelCanBeChanged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := telemetry.NewLogger(telemetry.LogConfig{Writer: &out, Level: level})
	log.Debug("no")
	level.Set(slog.LevelDebug)
	log.WithGroup("g").Debug("yes", "k", 1)
	if lines := parse(t, out.String()); len(lines) != 1 || lines[0]["msg"] != "yes" {
		t.Errorf("got %v, want only what was logged after the change", lines)
	}
}

func TestTextFormatFollowsTheTerminal(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		c    telemetry.LogConfig
		json bool
	}{
		"json without a terminal":      {telemetry.LogConfig{}, true},
		"text on a terminal":           {telemetry.LogConfig{Terminal: true}, false},
		"json on a terminal, if asked": {telemetry.LogConfig{Terminal: true, Format: "json"}, true},
		"text elsewhere, if asked":     {telemetry.LogConfig{Format: "text"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			tt.c.Writer = &out
			telemetry.NewLogger(tt.c).Info("hello")
			if got := json.Valid(out.Bytes()); got != tt.json {
				t.Errorf("got %q, want JSON: %v", out.String(), tt.json)
			}
		})
	}
}

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	boom := func(http.ResponseWriter, *http.Request) { panic("boom") }

	w, lines := recorded(t, &telemetry.Recorder{}, httptest.NewRequest("GET", "/", nil), boom)
	if len(lines) != 2 || lines[0]["msg"] != "panic" || lines[0]["level"] != "ERROR" || lines[1]["support_code"] != lines[0]["support_code"] {
		t.Fatalf("got lines %v, want the panic and the request, joined by a code", lines)
	}
	if w.Code != 500 || !strings.Contains(w.Body.String(), lines[0]["support_code"].(string)) || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("got %d %q, want a 500 that names the code alone", w.Code, w.Body)
	}

	w, _ = recorded(t, &telemetry.Recorder{Failed: func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }},
		httptest.NewRequest("GET", "/", nil), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Half", "done")
			boom(w, r)
		})
	if w.Code != 503 || w.Header().Get("X-Half") != "" {
		t.Errorf("got %d with %v, want the page that was set and nothing of the other", w.Code, w.Header())
	}
}

func TestPanicsAfterTheAnswerBreakTheConnection(t *testing.T) {
	t.Parallel()
	tests := map[string]any{"a mistake": "boom", "an aborted body": http.ErrAbortHandler}
	for name, cause := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			rec := &telemetry.Recorder{Access: true, Log: telemetry.NewLogger(telemetry.LogConfig{Writer: &out})}
			s := httptest.NewServer(rec.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "half")
				w.(http.Flusher).Flush()
				panic(cause)
			})))
			res, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			s.Close()
			if err == nil {
				t.Errorf("got a clean end after %q, want a broken connection", body)
			}
			lines := parse(t, out.String())
			if got := lines[len(lines)-1]; got["aborted"] != true {
				t.Errorf("got %v, want the line to say aborted", got)
			}
		})
	}
}

func TestWriterKeepsWhatTheServersHas(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	rec := &telemetry.Recorder{Access: true, Metrics: telemetry.NewMetrics(), Log: telemetry.NewLogger(telemetry.LogConfig{Writer: &out})}
	mux := http.NewServeMux()
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("the writer has no ReadFrom")
		}
		io.Copy(w, io.LimitReader(strings.NewReader("file content"), 4))
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		brw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		brw.Flush()
	})
	mux.HandleFunc("/deadline", func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("no deadline through the wrapper: %v", err)
		}
	})
	s := httptest.NewServer(rec.Wrap(mux))

	tests := []struct{ path, want string }{
		{"/hints", "HTTP/1.1 103 Early Hints"},
		{"/file", "HTTP/1.1 200 OK"},
		{"/hijack", "HTTP/1.1 101 Switching Protocols"},
		{"/deadline", "HTTP/1.1 200 OK"},
	}
	for _, tt := range tests {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", tt.path)
		got, err := textproto.NewReader(bufio.NewReader(c)).ReadLine()
		if err != nil || got != tt.want {
			t.Errorf("%s: got %q %v, want %q", tt.path, got, err, tt.want)
		}
		io.Copy(io.Discard, c)
		c.Close()
	}
	s.Close()
	var statuses []any
	for _, l := range parse(t, out.String()) {
		statuses = append(statuses, l["status"], l["bytes"])
	}
	if diff := cmp.Diff([]any{202.0, 0.0, 200.0, 4.0, 101.0, 0.0, 200.0, 0.0}, statuses); diff != "" {
		t.Errorf("statuses and bytes (-want +got):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	m.BuildInfo("v1.2.3", "abc")
	m.SignIn("ok")
	m.Refresh("kept")
	m.Reloaded(true, time.Unix(1700000000, 0))
	m.Sessions(func() (int, bool) { return 3, true })
	m.LiveConnections(func() int { return 2 })
	m.CertificateNotAfter(func() time.Time { return time.Unix(1800000000, 0) })
	rec := &telemetry.Recorder{Metrics: m}
	h := func(status int, route, decision string) {
		r := httptest.NewRequest("GET", "/", nil)
		recorded(t, rec, r, func(w http.ResponseWriter, r *http.Request) {
			x := telemetry.FromContext(r.Context())
			x.Route, x.Decision = route, decision
			w.WriteHeader(status)
		})
	}
	h(200, "wiki", "allow")
	h(200, "wiki", "allow")
	h(299, "wiki", "allow")
	h(298, "wiki", "allow")
	h(999, "", "")

	got := scrape(t, m)
	for _, want := range []string{
		`portero_requests_total{code="200",decision="allow",route="wiki"} 2`,
		`portero_requests_total{code="2xx",decision="allow",route="wiki"} 2`,
		`portero_requests_total{code="other",decision="",route=""} 1`,
		`portero_request_duration_seconds_count 5`,
		`portero_sign_ins_total{outcome="ok"} 1`,
		`portero_refreshes_total{outcome="kept"} 1`,
		`portero_sessions 3`,
		`portero_live_connections 2`,
		`portero_config_last_reload_successful 1`,
		`portero_config_last_reload_success_timestamp_seconds 1.7e+09`,
		`portero_certificate_not_after_timestamp_seconds 1.8e+09`,
		`portero_build_info{goversion="go`,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	m.Reloaded(false, time.Unix(1900000000, 0))
	if got := scrape(t, m); !strings.Contains(got, "portero_config_last_reload_successful 0") || !strings.Contains(got, "timestamp_seconds 1.7e+09") {
		t.Error("a failed reload is not told, or moved the time of the last good one")
	}
}

// OP-05: what clients send makes no series.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	rec := &telemetry.Recorder{Metrics: m}
	for i := range 2000 {
		r := httptest.NewRequest(fmt.Sprintf("M%d", i), fmt.Sprintf("/path/%d?q=%d", i, i), nil)
		r.Host = fmt.Sprintf("h%d.example.com", i)
		recorded(t, rec, r, func(w http.ResponseWriter, r *http.Request) {
			telemetry.FromContext(r.Context()).Subject = r.Host
			w.WriteHeader(200 + i%800)
		})
	}
	if n := strings.Count(scrape(t, m), "\nportero_requests_total{"); n > 100 {
		t.Errorf("got %d series, want them bounded by the status codes", n)
	}
}

func TestUnknownSessionCountsAreLeftOut(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics()
	m.Sessions(func() (int, bool) { return 0, false })
	if got := scrape(t, m); strings.Contains(got, "\nportero_sessions ") {
		t.Error("a count that is not known was told")
	}
}

func TestNilMetricsCountNothing(t *testing.T) {
	t.Parallel()
	var m *telemetry.Metrics
	m.BuildInfo("", "")
	m.SignIn("")
	m.Refresh("")
	m.Reloaded(true, time.Time{})
	m.Sessions(nil)
	m.LiveConnections(nil)
	m.CertificateNotAfter(nil)
	m.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestSupportCodes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		code := telemetry.NewSupportCode()
		if seen[code] {
			t.Fatalf("%q came twice", code)
		}
		seen[code] = true
		if got, ok := telemetry.ParseSupportCode(code); !ok || got != code {
			t.Fatalf("ParseSupportCode(%q) = %q, %v", code, got, ok)
		}
	}
	tests := map[string]struct {
		in, want string
		ok       bool
	}{
		"as printed":          {"7K3F-Q9XM", "7K3F-Q9XM", true},
		"lower case":          {"7k3f-q9xm", "7K3F-Q9XM", true},
		"without the hyphen":  {" 7K3F Q9XM ", "7K3F-Q9XM", true},
		"too short":           {"7K3F-Q9X", "", false},
		"too long":            {"7K3F-Q9XMM", "", false},
		"a letter never used": {"7K3F-Q9XA", "", false},
		"not of the alphabet": {"7K3F-Q9X\u212a", "", false}, // KELVIN SIGN folds to k
		"empty":               {"", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := telemetry.ParseSupportCode(tt.in)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("ParseSupportCode(%q) = %q, %v, want %q, %v", tt.in, got, ok, tt.want, tt.ok)
			}
		})
	}
	x := telemetry.FromContext(context.Background())
	if x == nil {
		t.Fatal("no exchange")
	}
	if first, second := x.SupportCode(), x.SupportCode(); first != second {
		t.Errorf("an exchange has one code: got %s, then %s", first, second)
	}
}

func FuzzParseSupportCode(f *testing.F) {
	f.Add("7K3F-Q9XM")
	f.Add("7k3f q9xm")
	f.Add("\xff\x00--------")
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := telemetry.ParseSupportCode(s)
		if !ok {
			return
		}
		if again, ok := telemetry.ParseSupportCode(code); !ok || again != code || len(code) != 9 {
			t.Errorf("%q parses to %q, which parses to %q, %v", s, code, again, ok)
		}
	})
}

func BenchmarkWrap(b *testing.B) {
	for name, rec := range map[string]*telemetry.Recorder{
		"silent":          {},
		"metrics":         {Metrics: telemetry.NewMetrics()},
		"metrics and log": {Metrics: telemetry.NewMetrics(), Access: true, Log: telemetry.NewLogger(telemetry.LogConfig{Writer: io.Discard})},
	} {
		b.Run(name, func(b *testing.B) {
			h := rec.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x := telemetry.FromContext(r.Context())
				x.Route, x.Decision, x.Reason, x.Subject = "wiki", "allow", "rule", "alice"
				w.WriteHeader(200)
			}))
			r := httptest.NewRequest("GET", "/reports?x=1", nil)
			w := &nothing{h: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}

type nothing struct{ h http.Header }

func (n *nothing) Header() http.Header         { return n.h }
func (n *nothing) Write(p []byte) (int, error) { return len(p), nil }
func (n *nothing) WriteHeader(int)             {}
