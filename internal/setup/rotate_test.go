package setup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"portero/internal/config"
	"portero/internal/demo/tenant"
	"portero/internal/gateway"
	"portero/internal/gatewaytest"
	"portero/internal/logto"
	"portero/internal/setup"
)

const (
	rotatedApp  = "rotatedapplication000"
	firstSecret = "FirstSecretOfTheApplication00000"
	adminToken  = "0123456789abcdefghijklmnopqrstuv"
)

// rotating is a gateway's configuration with the secret in a file, and the tenant it belongs to.
type rotating struct {
	*gatewaytest.Tenant
	file, origin, upstream string

	mu    sync.Mutex
	codes map[string]string // :: address → its last code
}

func newRotating(t *testing.T, origin string) *rotating {
	t.Helper()
	r := &rotating{file: filepath.Join(t.TempDir(), "secret"), origin: origin, upstream: "http://127.0.0.1:1", codes: map[string]string{}}
	if err := os.WriteFile(r.file, []byte(firstSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Tenant = gatewaytest.NewTenant(t, gatewaytest.TenantOptions{
		Half: true,
		Prepare: func(k *tenant.Tenant) {
			k.SignInByEmail("")
			k.Add(tenant.Application{ID: rotatedApp, Name: "Wiki", Type: "Traditional", RedirectURIs: []string{origin + "/callback"}, SessionRequired: true}, firstSecret)
		},
		Send: func(_ context.Context, m tenant.Mail) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.codes[m.To] = m.Code
			return nil
		},
	})
	// What somebody else made, which stays; its name is almost one of ours.
	r.create(t, "porteros own")
	return r
}

func (r *rotating) create(t *testing.T, name string) {
	t.Helper()
	client, err := setup.NewClient(r.config(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateSecret(t.Context(), rotatedApp, name); err != nil {
		t.Fatal(err)
	}
}

func (r *rotating) load() (*config.Config, error) {
	return config.Load(config.Options{Path: "portero.yaml", Setup: true, Text: fmt.Appendf(nil, `
listen: 127.0.0.1:0
external_url: %s
upstream: %s
allow: [{email_domains: ["*"]}]
session: {store: memory}
shutdown: {timeout: 2s}
admin: {listen: "127.0.0.1:0", token: %s}
logto: {endpoint: %q, app_id: %s, app_secret_file: %q, management: {app_id: %s, app_secret: %s}}
`, r.origin, r.upstream, adminToken, r.URL, rotatedApp, r.file, r.ManagementID, r.ManagementSecret)})
}

func (r *rotating) config(t *testing.T) *config.Config {
	t.Helper()
	c, err := r.load()
	if err != nil {
		t.Fatalf("the configuration:\n%v", err)
	}
	return c
}

func (r *rotating) secret(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// names are those of the secrets at Logto.
func (r *rotating) names(t *testing.T) []string {
	t.Helper()
	client, err := setup.NewClient(r.config(t))
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Secrets(t.Context(), rotatedApp)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// follower is a gateway that has what is in the file at once.
func (r *rotating) follower(t *testing.T) setup.Gateway {
	return setup.Gateway{Name: "one", Secret: func(context.Context) (setup.SecretInUse, error) {
		return setup.SecretInUse{AppID: rotatedApp, Fingerprint: logto.Fingerprint(rotatedApp, r.secret(t)), Used: true}, nil
	}}
}

var rotationTime = time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)

const rotatedName = "portero-20261123-040506"

// rotation is one run of the command.
func (r *rotating) rotation(t *testing.T, gateways ...setup.Gateway) *setup.Rotation {
	t.Helper()
	c := r.config(t)
	client, err := setup.NewClientTrying(c, 0, nil) // requests are counted
	if err != nil {
		t.Fatal(err)
	}
	return &setup.Rotation{
		Client: client, Config: c, Gateways: gateways, Patience: 20 * time.Second, Now: func() time.Time { return rotationTime },
		Done: func(step string) {
			if strings.Contains(step, firstSecret) || strings.Contains(step, r.secret(t)) {
				t.Errorf("step %q holds a secret", step)
			}
		},
	}
}

func run(ctx context.Context, r *setup.Rotation) (pending bool, names []string, err error) {
	if pending, names, err = r.Look(ctx); err != nil {
		return pending, names, err
	}
	return pending, names, r.Run(ctx)
}

func (r *rotating) rotated(t *testing.T, name string) {
	t.Helper()
	if got := r.secret(t); got == firstSecret || !r.Tenant.Tenant.Authenticates(rotatedApp, got) {
		t.Error("the file does not hold a new secret that Logto takes")
	}
	if r.Tenant.Tenant.Authenticates(rotatedApp, firstSecret) {
		t.Error("the old secret is good still")
	}
	if got, want := r.names(t), []string{name, "porteros own"}; !slices.Equal(got, want) {
		t.Errorf("secrets at Logto: got %q, want %q", got, want)
	}
	if info, err := os.Stat(r.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: got %v, %v; want mode 0600", info, err)
	}
	left, err := filepath.Glob(filepath.Dir(r.file) + "/*")
	if err != nil || len(left) != 1 {
		t.Errorf("files: got %q and error %v, want the secret alone", left, err)
	}
}

func TestRotationThatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	for name, tt := range map[string]struct {
		change func(*config.Config)
		says   string
	}{
		"no application": {func(c *config.Config) { c.Logto.AppID = "" }, "logto.app_id"},
		"no file":        {func(c *config.Config) { c.Logto.AppSecretFile = "" }, "logto.app_secret_file"},
		"no secret":      {func(c *config.Config) { c.Logto.AppSecret = config.Secret{} }, "no secret in"},
		"no folder":      {func(c *config.Config) { c.Logto.AppSecretFile = "/nowhere/secret" }, "/nowhere/secret"},
		"no such app":    {func(c *config.Config) { c.Logto.AppID = "none" }, "reading the client secrets"},
	} {
		one := r.rotation(t, r.follower(t))
		tt.change(one.Config)
		if _, _, err := one.Look(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got error %v, want one that says %q", name, err, tt.says)
		}
	}
	if got := r.names(t); !slices.Equal(got, []string{"Default secret", "porteros own"}) || r.secret(t) != firstSecret {
		t.Errorf("something was changed: %q", got)
	}
}

// Logto makes a secret and does not take it: it never gets into the file.
func TestRotationWithASecretThatDoesNotWork(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	r.Hook(func(w http.ResponseWriter, req *http.Request) bool {
		if id, _, _ := req.BasicAuth(); req.URL.Path != "/oidc/token" || id != rotatedApp {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
		return true
	})
	_, _, err := run(t.Context(), r.rotation(t, r.follower(t)))
	if !errors.Is(err, logto.ErrRefused) || r.secret(t) != firstSecret {
		t.Errorf("got error %v, want ErrRefused, and the file as it was", err)
	}
	if got := r.names(t); !slices.Equal(got, []string{"Default secret", "porteros own"}) {
		t.Errorf("secrets at Logto: got %q, want those of before", got)
	}
}

// Gateways that do not follow keep the old secret good, and the next run completes.
func TestRotationThatIsNotFollowed(t *testing.T) {
	t.Parallel()
	says := func(in setup.SecretInUse, err error) func(context.Context) (setup.SecretInUse, error) {
		return func(context.Context) (setup.SecretInUse, error) { return in, err }
	}
	for name, tt := range map[string]struct {
		gateway func(context.Context) (setup.SecretInUse, error) // nil: none
		says    string
	}{
		"none":                {nil, "no gateway"},
		"away":                {says(setup.SecretInUse{}, errors.New("connection refused")), "connection refused"},
		"older":               {says(setup.SecretInUse{}, nil), "version"},
		"another application": {says(setup.SecretInUse{AppID: "other", Fingerprint: "f"}, nil), "app_id"},
		"the old secret":      {says(setup.SecretInUse{AppID: rotatedApp, Fingerprint: logto.Fingerprint(rotatedApp, firstSecret), Used: true}, nil), "not loaded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRotating(t, "http://localhost:3000")
			gateways := []setup.Gateway{r.follower(t)}
			if tt.gateway == nil {
				gateways = nil
			} else {
				gateways = append(gateways, setup.Gateway{Name: "two", Secret: tt.gateway})
			}
			one := r.rotation(t, gateways...)
			one.Patience = 300 * time.Millisecond
			_, _, err := run(t.Context(), one)
			var behind *setup.NotFollowedError
			if !errors.As(err, &behind) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(behind.Hint(), "--finish") {
				t.Fatalf("got error %v, want a NotFollowedError that says %q", err, tt.says)
			}
			second := r.secret(t)
			if second == firstSecret || !r.Tenant.Tenant.Authenticates(rotatedApp, second) || !r.Tenant.Tenant.Authenticates(rotatedApp, firstSecret) {
				t.Error("both secrets have to be good, and the new one in the file")
			}
			pending, names, err := run(t.Context(), r.rotation(t, r.follower(t)))
			if err != nil || !pending || !slices.Equal(names, []string{"Default secret"}) || r.secret(t) != second {
				t.Errorf("the next run: got pending %v, %q and error %v; want it to complete with the same secret", pending, names, err)
			}
			r.rotated(t, rotatedName)
		})
	}
}

// A gateway that has loaded the secret has to have used it besides.
func TestRotationWaitsUntilTheSecretIsUsed(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	loaded := r.follower(t)
	used := loaded.Secret
	loaded.Secret = func(ctx context.Context) (setup.SecretInUse, error) {
		in, err := used(ctx)
		in.Used = false
		return in, err
	}
	one := r.rotation(t, loaded)
	one.Patience = 300 * time.Millisecond
	_, _, err := run(t.Context(), one)
	var behind *setup.NotFollowedError
	if !errors.As(err, &behind) || !strings.Contains(err.Error(), "has not taken it") || !r.Tenant.Tenant.Authenticates(rotatedApp, firstSecret) {
		t.Errorf("got error %v, want a NotFollowedError, and the old secret to be good", err)
	}
}

// The note is written before the file is switched: broken off in between, the next run knows the old secret.
func TestRotationWritesItsNoteFirst(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	r.Hook(func(_ http.ResponseWriter, req *http.Request) bool {
		if id, _, _ := req.BasicAuth(); req.URL.Path == "/oidc/token" && id == rotatedApp {
			if err := os.Mkdir(r.file+".rotation", 0o700); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	if _, _, err := run(t.Context(), r.rotation(t, r.follower(t))); err == nil || r.secret(t) != firstSecret {
		t.Errorf("without a note: got error %v, want one, and the file as it was", err)
	}
}

// Somebody writes another secret into the file while gateways are asked: that one may be the old one.
func TestRotationOfAFileThatSomebodyChanged(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	meddler := r.follower(t)
	used := meddler.Secret
	meddler.Secret = func(ctx context.Context) (setup.SecretInUse, error) {
		in, err := used(ctx)
		return in, errors.Join(err, os.WriteFile(r.file, []byte(firstSecret+"\n"), 0o600))
	}
	_, _, err := run(t.Context(), r.rotation(t, meddler))
	if err == nil || !strings.Contains(err.Error(), "changed meanwhile") || !r.Tenant.Tenant.Authenticates(rotatedApp, firstSecret) {
		t.Errorf("got error %v, want one that says that the file has been changed, and the old secret to be good", err)
	}
}

// Somebody removes the new secret while gateways are asked: the old one is all there is, and stays.
func TestRotationOfASecretThatSomebodyRemoved(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	meddler := r.follower(t)
	used := meddler.Secret
	meddler.Secret = func(ctx context.Context) (setup.SecretInUse, error) {
		client, err := setup.NewClient(r.config(t))
		if err == nil {
			err = client.DeleteSecret(ctx, rotatedApp, rotatedName)
		}
		if err != nil {
			t.Error(err)
		}
		return used(ctx)
	}
	_, _, err := run(t.Context(), r.rotation(t, meddler))
	if err == nil || !strings.Contains(err.Error(), "nothing was removed") || !r.Tenant.Tenant.Authenticates(rotatedApp, firstSecret) {
		t.Errorf("got error %v, want one that says that nothing was removed, and the old secret to be good", err)
	}
}

// A rotation that goes on keeps its secret whatever the token endpoint says: some gateway may use it already.
func TestRotationThatGoesOnKeepsItsSecret(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	r.create(t, rotatedName)
	text, err := json.Marshal(map[string]string{"app_id": rotatedApp, "old": "Default secret", "new": rotatedName})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.file+".rotation", text, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Hook(func(w http.ResponseWriter, req *http.Request) bool {
		if id, _, _ := req.BasicAuth(); req.URL.Path != "/oidc/token" || id != rotatedApp {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	if pending, _, err := run(t.Context(), r.rotation(t, r.follower(t))); err == nil || !pending || r.secret(t) != firstSecret {
		t.Errorf("got pending %v and error %v, want an error, and the file as it was", pending, err)
	}
	r.Hook(nil)
	if got, want := r.names(t), []string{"Default secret", rotatedName, "porteros own"}; !slices.Equal(got, want) {
		t.Errorf("secrets at Logto: got %q, want %q", got, want)
	}
}

// A second rotation removes what the first made, and what one left that was broken off.
func TestRotateAgain(t *testing.T) {
	t.Parallel()
	r := newRotating(t, "http://localhost:3000")
	if _, _, err := run(t.Context(), r.rotation(t, r.follower(t))); err != nil {
		t.Fatal(err)
	}
	r.rotated(t, rotatedName)
	r.create(t, "portero-20200101-000000")
	before := r.secret(t)
	pending, names, err := run(t.Context(), r.rotation(t, r.follower(t))) // within the same second
	slices.Sort(names)
	if want := []string{"portero-20200101-000000", rotatedName}; err != nil || pending || !slices.Equal(names, want) {
		t.Errorf("got pending %v, %q and error %v; want a new rotation that removes %q", pending, names, err, want)
	}
	if r.secret(t) == before || r.Tenant.Tenant.Authenticates(rotatedApp, before) {
		t.Error("the secret is the one of before, or that one is good still")
	}
	r.rotated(t, rotatedName+"-2")
}

// Broken off at each single request, before Logto has done what it asks or after: a secret that Logto takes is in the file all
// the while, and the next run completes.
func TestRotationBrokenOffAnywhere(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		for n := 1; ; n++ {
			r := newRotating(t, "http://localhost:3000")
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			count, broken := 0, false
			r.Hook(func(_ http.ResponseWriter, req *http.Request) bool {
				if !r.Tenant.Tenant.Authenticates(rotatedApp, r.secret(t)) {
					t.Errorf("at %s %s the file holds a secret that Logto does not take", req.Method, req.URL.Path)
				}
				mu.Lock()
				defer mu.Unlock()
				if count++; count < n {
					return false
				}
				broken = true
				if done && count == n {
					r.Provider.Handler().ServeHTTP(httptest.NewRecorder(), req)
				}
				cancel()
				panic(http.ErrAbortHandler)
			})
			_, _, err := run(ctx, r.rotation(t, r.follower(t)))
			cancel()
			r.Hook(nil)
			if !r.Tenant.Tenant.Authenticates(rotatedApp, r.secret(t)) {
				t.Fatalf("broken off at request %d: the file holds a secret that Logto does not take", n)
			}
			if !broken {
				if err != nil || n < 8 {
					t.Fatalf("after %d requests: got error %v, want none after at least eight", n, err)
				}
				break
			}
			again := r.rotation(t, r.follower(t))
			again.Now = func() time.Time { return rotationTime.Add(time.Minute) }
			if _, _, err := run(t.Context(), again); err != nil {
				t.Fatalf("broken off at request %d (done: %v): the next run: %v", n, done, err)
			}
			names := r.names(t)
			names = slices.DeleteFunc(names, func(s string) bool { return s == "porteros own" })
			if len(names) != 1 {
				t.Fatalf("broken off at request %d (done: %v): secrets at Logto: %q", n, done, names)
			}
			r.rotated(t, names[0])
		}
	}
}

// startGateway runs a real one.
func (r *rotating) startGateway(t *testing.T, l net.Listener) *gateway.Gateway {
	t.Helper()
	cfg := r.config(t)
	g, err := gateway.New(cfg, gateway.Options{Load: r.load, Public: l, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

// asked is a gateway that is asked over its admin listener.
func asked(g *gateway.Gateway) setup.Gateway {
	return setup.Gateway{Name: g.AdminAddr().String(), Secret: func(ctx context.Context) (setup.SecretInUse, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.AdminAddr().String()+"/api/status", nil)
		if err != nil {
			return setup.SecretInUse{}, err
		}
		req.Header.Set("Authorization", "Bearer "+adminToken)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return setup.SecretInUse{}, err
		}
		defer resp.Body.Close()
		var answer struct {
			Logto struct {
				AppID  string `json:"app_id"`
				Secret string `json:"app_secret"`
				Used   bool   `json:"app_secret_used"`
			}
		}
		err = json.NewDecoder(resp.Body).Decode(&answer)
		return setup.SecretInUse{AppID: answer.Logto.AppID, Fingerprint: answer.Logto.Secret, Used: answer.Logto.Used}, err
	}}
}

// signIn signs somebody in at the gateway, through the provider's pages.
func (r *rotating) signIn(t *testing.T, address string) {
	t.Helper()
	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": strings.TrimPrefix(strings.Replace(r.origin, "localhost", "127.0.0.1", 1), "http://")})
	page := b.Visit(r.origin + "/wanted")
	to, fields := formOf(t, page)
	fields.Set("identifier", address)
	to, fields = formOf(t, b.Follow(b.Post(to, fields)))
	r.mu.Lock()
	fields.Set("code", r.codes[address])
	r.mu.Unlock()
	if last := b.Follow(b.Post(to, fields)); last.StatusCode != http.StatusOK || last.Text != "wanted" {
		t.Errorf("signing in: got %s at %s", last.Status, last.Request.URL)
	}
}

// formOf is the first form of a page.
func formOf(t *testing.T, r *gatewaytest.Response) (string, url.Values) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(r.Text))
	if err != nil {
		t.Fatal(err)
	}
	action, fields := "", url.Values{}
	for n := range doc.Descendants() {
		at := map[string]string{}
		for _, a := range n.Attr {
			at[a.Key] = a.Val
		}
		switch {
		case n.Data == "form" && action == "":
			action = at["action"]
		case n.Data == "input" && at["name"] != "":
			fields.Set(at["name"], at["value"])
		}
	}
	to, err := r.Request.URL.Parse(action)
	if err != nil || action == "" {
		t.Fatalf("no form at %s (%s)", r.Request.URL, r.Status)
	}
	return to.String(), fields
}

// People sign in all the while, and nobody fails; two gateways follow, one of which nobody uses.
func TestRotationWhilePeopleSignIn(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	idle, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := newRotating(t, fmt.Sprintf("http://localhost:%d", l.Addr().(*net.TCPAddr).Port))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "wanted") }))
	t.Cleanup(upstream.Close)
	r.upstream = upstream.URL
	gateways := []setup.Gateway{asked(r.startGateway(t, l)), asked(r.startGateway(t, idle))}
	r.signIn(t, "first@example.com")

	one := r.rotation(t, gateways...)
	ended := make(chan error, 1)
	go func() {
		_, _, err := run(t.Context(), one)
		ended <- err
	}()
	count := 0
	for rotating := true; rotating; count++ {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			rotating = false
		default:
		}
		r.signIn(t, fmt.Sprintf("person-%d@example.com", count))
	}
	if count < 2 {
		t.Errorf("sign-ins: got %d, want some of them during the rotation", count)
	}
	r.rotated(t, rotatedName)
	r.signIn(t, "last@example.com")
}
