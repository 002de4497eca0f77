package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/config"
	"portero/internal/gatewaytest"
	"portero/internal/management"
	"portero/internal/setup"
)

const (
	apiKey      = "key-0123456789abcdef0123456789abcdef"
	foreignText = "words-of-somebody-else"
)

// world is a gateway's surroundings with nothing wrong in them: Logto as `setup apply` leaves it, Mailgun, and something
// that answers at external_url as the gateway does.
type world struct {
	t       *testing.T
	logto   *gatewaytest.Tenant
	mailgun *mailgunFake
	dir     string
	appID   string
	text    string // the configuration
	admin   *management.Client
	// gateway answers at external_url where it returns true. nil: all is as the gateway answers.
	gateway func(w http.ResponseWriter, r *http.Request) bool
	hosts   map[string]string    // :: name → address, beside localhost
	adjust  func(*config.Config) // what no file of this release can say; nil: nothing
	shift   atomic.Int64         // how far our clock is ahead, in nanoseconds
	secrets map[string]string    // :: value → what it is
}

func newWorld(t *testing.T, o gatewaytest.TenantOptions) *world {
	t.Helper()
	w := &world{t: t, mailgun: newMailgun(t), dir: t.TempDir(), secrets: map[string]string{apiKey: "the API key", foreignText: "a text of somebody else"}}
	w.logto = gatewaytest.NewTenant(t, o)
	external := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.gateway != nil && w.gateway(rw, r) {
			return
		}
		if r.Method != http.MethodPost || r.URL.Path != "/_portero/backchannel-logout" {
			t.Errorf("the gateway got %s %s", r.Method, r.URL)
		}
		rw.Header().Set("Proxy-Status", "portero; error=http_request_error")
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(rw, `{"error":"invalid_request","error_description":%q}`, foreignText)
	}))
	t.Cleanup(external.Close)
	w.secrets[w.logto.ManagementSecret] = "the secret of the Management API"
	base := `
external_url: ` + external.URL + `
logto:
  endpoint: ` + w.logto.URL + `
  app_id: APP
  app_secret_file: secret
  management: {app_id: ` + w.logto.ManagementID + `, app_secret: ` + w.logto.ManagementSecret + `}
mailgun: {endpoint: ` + w.mailgun.url + `/x.mailgun.net, domain: mg.example.com, api_key: ` + apiKey + `, from: no-reply@mg.example.com}
routes:
  - {name: app, path: /, upstreams: [{url: http://127.0.0.1:1}], allow: [{email_domains: [example.com]}]}
  - {name: admin, path: /admin, upstreams: [{url: http://127.0.0.1:1}], allow: [{roles: [admin]}]}
`
	c, err := config.Load(config.Options{Path: filepath.Join(w.dir, "portero.yaml"), Text: []byte(strings.Replace(base, "  app_id: APP\n", "", 1)), Setup: true})
	if err != nil {
		t.Fatal(err)
	}
	want := setup.NewDesired(c)
	if w.admin, err = setup.NewClient(c); err != nil {
		t.Fatal(err)
	}
	state, err := setup.Read(t.Context(), w.admin, want)
	if err != nil {
		t.Fatal(err)
	}
	if w.appID, err = setup.Apply(t.Context(), w.admin, want, setup.Options{}, setup.NewPlan(want, state, setup.Options{}), func(setup.Change) {}); err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(filepath.Join(w.dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	w.secrets[strings.TrimSpace(string(secret))] = "the client secret"
	w.text = strings.Replace(base, "app_id: APP", "app_id: "+w.appID, 1)
	w.logto.Forget()
	return w
}

// replace changes the configuration.
func (w *world) replace(old, new string) {
	w.t.Helper()
	if !strings.Contains(w.text, old) {
		w.t.Fatalf("the configuration has no %q:\n%s", old, w.text)
	}
	w.text = strings.Replace(w.text, old, new, 1)
}

// hook answers requests to Logto before it does.
func (w *world) hook(path string, answer func(rw http.ResponseWriter, r *http.Request)) {
	w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasPrefix(r.URL.Path, path) {
			return false
		}
		answer(rw, r)
		return true
	})
}

// edit changes what Logto answers to a GET of a path that ends so.
func edit[T any](w *world, path string, change func(T) T) {
	w.logto.Hook(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, path) || r.Method != http.MethodGet {
			return false
		}
		rec := httptest.NewRecorder()
		w.logto.Provider.Handler().ServeHTTP(rec, r)
		var value T
		if err := json.Unmarshal(rec.Body.Bytes(), &value); err != nil {
			w.t.Errorf("%s: %v", path, err)
			return false
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.Header().Del("Content-Length")
		rw.WriteHeader(rec.Code)
		json.NewEncoder(rw).Encode(change(value))
		return true
	})
}

type object = map[string]any

// set sets a member.
func set(name string, value any) func(object) object {
	return func(o object) object {
		o[name] = value
		return o
	}
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.shift.Load())) }

// experience changes how people sign in.
func (w *world) experience(change management.Object) {
	w.t.Helper()
	if _, err := w.admin.UpdateSignInExperience(w.t.Context(), change); err != nil {
		w.t.Fatal(err)
	}
}

// application edits the application: its metadata for OpenID and its own.
func (w *world) application(edit func(oidc, custom management.Object) management.Object) {
	w.t.Helper()
	a, err := w.admin.Application(w.t.Context(), w.appID)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.admin.UpdateApplication(w.t.Context(), w.appID, edit(a.OIDC, a.Custom)); err != nil {
		w.t.Fatal(err)
	}
}

// connector edits the configuration of the e-mail connector.
func (w *world) connector(edit func(management.Object)) {
	w.t.Helper()
	all, err := w.admin.Connectors(w.t.Context())
	if err != nil || len(all) != 1 {
		w.t.Fatalf("connectors: got %d and error %v", len(all), err)
	}
	edit(all[0].Config)
	if _, err := w.admin.UpdateConnector(w.t.Context(), all[0].ID, all[0].Config); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) load() *config.Config {
	w.t.Helper()
	c, err := config.Load(config.Options{Path: filepath.Join(w.dir, "portero.yaml"), Text: []byte(w.text)})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.adjust != nil {
		w.adjust(c)
	}
	return c
}

// run makes the checks of Logto and Mailgun. // :: check → finding
func (w *world) run() map[string]Finding {
	w.t.Helper()
	w.logto.Forget()
	o := Options{Config: w.load(), Now: w.now}
	checks, end := logtoChecksWith(o, w.lookUp)
	defer end()
	findings := runAll(w.t.Context(), slices.Concat(checks, mailgunChecksAt(o, w.mailgun.elsewhere)))
	byName := map[string]Finding{}
	for _, f := range findings {
		if byName[f.Check] != (Finding{}) {
			w.t.Errorf("two checks are called %s", f.Check)
		}
		byName[f.Check] = f
		if f.Seen == "" || f.Status != OK && f.Remedy == "" && !strings.HasPrefix(f.Seen, "see ") || (f.Status == Warning || f.Status == Failed) && f.Expected == "" {
			w.t.Errorf("%+v: want expected, seen and what to type", f)
		}
		if to, points := strings.CutPrefix(f.Seen, "see "); points && !slices.ContainsFunc(findings, func(o Finding) bool { return o.Check == to && o.Status != OK }) {
			w.t.Errorf("%s points to %s, which says nothing", f.Check, to)
		}
	}
	text, err := json.Marshal(findings)
	if err != nil {
		w.t.Fatal(err)
	}
	for secret, what := range w.secrets {
		if strings.Contains(string(text), secret) {
			w.t.Errorf("%s is in the findings: %s", what, text)
		}
	}
	if got := w.logto.Requests(); len(got) > 0 {
		w.t.Errorf("requests that may change something at Logto: got %q, want none", got)
	}
	return byName
}

// lookUp resolves the names of w.hosts, and of loopback.
func (w *world) lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, there := w.hosts[host]; there {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	if host == "localhost" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// file writes a file beside the configuration.
func (w *world) file(name, content string) string {
	w.t.Helper()
	name = filepath.Join(w.dir, name)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

// dropLine removes the lines that begin so.
func dropLine(text, begins string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), begins) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// row is one thing that is wrong, and what is said about it.
type row struct {
	name   string
	tenant gatewaytest.TenantOptions
	change func(*world)
	check  string
	want   Status
	says   []string // all of them; {endpoint}, {external} and {elsewhere} stand for what they are in the world
	skips  string   // checks that point to it, by spaces; each is skipped
	also   []string // checks that may say something as well
}

// usual are the checks that are not ok in every world, since it is all on loopback.
var usual = []string{"backchannel-address"}

// forward tries every row in a world of its own.
func forward(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, r.tenant)
			if r.change != nil {
				r.change(w)
			}
			findings := w.run()
			f, there := findings[r.check]
			if !there || f.Status != r.want {
				t.Fatalf("%s: got %+v, want %s", r.check, f, r.want)
			}
			text := f.Expected + "\n" + f.Seen + "\n" + f.Remedy
			names := strings.NewReplacer("{endpoint}", w.logto.URL, "{external}", w.load().ExternalURL.String(), "{elsewhere}", w.mailgun.elsewhere)
			for _, words := range r.says {
				if words = names.Replace(words); !strings.Contains(text, words) {
					t.Errorf("%s does not say %q:\n%s", r.check, words, text)
				}
			}
			for _, name := range strings.Fields(r.skips) {
				if g := findings[name]; g.Status != Skipped || g.Seen != "see "+r.check {
					t.Errorf("%s: got %+v, want it to point to %s", name, g, r.check)
				}
			}
			for name, g := range findings {
				if g.Status == Failed || g.Status == Warning {
					if name != r.check && !slices.Contains(r.also, name) && !slices.Contains(usual, name) {
						t.Errorf("one cause is told twice: %+v", g)
					}
				}
			}
		})
	}
}
