package gatewaytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// OIDCProvider is npm's oidc-provider, the certified engine inside Logto, as a process of its own with Logto's paths
// and ways: an OpenID provider that shares no code and no author with the gateway. Folder oidcprovider has it.
type OIDCProvider struct {
	Logto // the application it knows; every redirect URI of this machine is accepted

	t      testing.TB
	mu     sync.Mutex
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer
}

// OIDCProviderOptions change it. The zero value, or nil, is Logto's default.
type OIDCProviderOptions struct {
	// RotateAlways gives a new refresh token with each refresh. false: after 70 % of its life, as Logto does for
	// applications with a secret.
	RotateAlways bool
	// AccessLife is how long access tokens live. 0: one hour.
	AccessLife time.Duration
	// BackchannelURI is told when a person signs out. "": nobody.
	BackchannelURI string
}

// NewOIDCProvider starts one; it ends with the test. Without Node or the installed engine the test is skipped, and
// fails where PORTERO_TEST_REAL=1 asks for both.
func NewOIDCProvider(t testing.TB, o *OIDCProviderOptions) *OIDCProvider {
	t.Helper()
	if o == nil {
		o = &OIDCProviderOptions{}
	}
	node, dir, err := findOIDCProvider()
	if err != nil {
		Lacks(t, err.Error())
	}
	args := []string{"server.mjs", "--client-id", "app-1", "--client-secret", "0123456789abcdefghijABCDEFGHIJ12",
		"--machine-id", "machine-1", "--machine-secret", machineSecret}
	if o.RotateAlways {
		args = append(args, "--rotate", "always")
	}
	if o.AccessLife > 0 {
		args = append(args, "--access-token-ttl", fmt.Sprint(int(o.AccessLife/time.Second)))
	}
	if o.BackchannelURI != "" {
		args = append(args, "--backchannel-logout-uri", o.BackchannelURI)
	}
	p := &OIDCProvider{t: t}
	cmd := exec.Command(node, args...)
	cmd.Dir, cmd.Stderr, cmd.WaitDelay = dir, &p.stderr, 5*time.Second
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // it ends with its input; a process that hangs is killed
		p.in.Close()
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("oidc-provider ended with %v; it said:\n%s", err, p.stderr.String())
		}
	})
	var ready struct {
		URL          string `json:"url"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	p.read(&ready)
	p.Logto = Logto{ready.URL, ready.ClientID, ready.ClientSecret}
	return p
}

// machineSecret is that of its machine-to-machine application machine-1.
const machineSecret = "abcdefghijABCDEFGHIJ120123456789"

// MachineToken is what machine-1 gets for a resource (RFC 6749 4.4, RFC 8707): an access token with these scopes.
func (p *OIDCProvider) MachineToken(resource, scope string) string {
	p.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {scope}}
	req, err := http.NewRequest(http.MethodPost, p.Endpoint+"/oidc/token", strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("machine-1", machineSecret)
	var answer struct {
		AccessToken string `json:"access_token"`
		Error       string `json:"error"`
	}
	got := NewBrowser(p.t, nil).Do(req)
	if err := json.Unmarshal([]byte(got.Text), &answer); err != nil || answer.AccessToken == "" {
		p.t.Fatalf("a token for %s: got %s %s", resource, got.Status, got.Text)
	}
	return answer.AccessToken
}

// findOIDCProvider finds Node and the folder of the installed engine, from the folder of the test upwards.
func findOIDCProvider() (node, dir string, err error) {
	if node, err = exec.LookPath("node"); err != nil {
		return "", "", errors.New("no Node on this machine")
	}
	root, err := os.Getwd()
	if err != nil {
		return "", "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", "", errors.New("no go.mod above this test: the folder of oidc-provider cannot be found")
		}
		root = filepath.Dir(root)
	}
	dir = filepath.Join(root, "internal", "gatewaytest", "oidcprovider")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
		return "", "", errors.New("oidc-provider is not installed: npm ci --prefix internal/gatewaytest/oidcprovider")
	}
	return node, dir, nil
}

func (p *OIDCProvider) read(v any) {
	p.t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		p.t.Fatalf("oidc-provider does not answer: %v", err)
	}
}

// do sends a command and reads what it answers.
func (p *OIDCProvider) do(command map[string]any) (answer struct {
	Error  string
	Grants int
	Counts map[string]int
}) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := json.NewEncoder(p.in).Encode(command); err != nil {
		p.t.Fatalf("oidc-provider does not listen: %v", err)
	}
	p.read(&answer)
	if answer.Error != "" {
		p.t.Fatalf("oidc-provider: %v: %s", command["do"], answer.Error)
	}
	return answer
}

// RotateKey makes a new signing key the current one; the one before stays in the key set.
func (p *OIDCProvider) RotateKey() {
	p.t.Helper()
	p.do(map[string]any{"do": "rotate-key"})
}

// SetClock makes its clock stand at now.
func (p *OIDCProvider) SetClock(now time.Time) {
	p.t.Helper()
	p.do(map[string]any{"do": "clock", "now": now.UnixMilli()})
}

// RevokeGrants takes back what a person has granted, refresh tokens included; they stay signed in at the provider.
func (p *OIDCProvider) RevokeGrants(address string) int {
	p.t.Helper()
	return p.do(map[string]any{"do": "revoke", "address": address}).Grants
}

// Suspend takes back what a person has granted and ends their sessions at the provider.
func (p *OIDCProvider) Suspend(address string) int {
	p.t.Helper()
	return p.do(map[string]any{"do": "revoke", "address": address, "sessions": true}).Grants
}

// LoseAnswers lets the next n answers of the token endpoint get lost on their way; what they tell has happened.
func (p *OIDCProvider) LoseAnswers(n int) {
	p.t.Helper()
	p.do(map[string]any{"do": "lose-answers", "count": n})
}

// SetBackchannelURI makes logout tokens go to a URI from now on: that of a gateway which was started after the provider.
func (p *OIDCProvider) SetBackchannelURI(uri string) {
	p.t.Helper()
	p.do(map[string]any{"do": "backchannel", "uri": uri})
}

// Counts are the calls so far, such as "/token refresh_token", "/token refresh_token invalid_grant" and
// "/token/revocation".
func (p *OIDCProvider) Counts() map[string]int {
	p.t.Helper()
	return p.do(map[string]any{"do": "counts"}).Counts
}

// SignIn goes from an answer of the gateway to the provider, signs in there as address, and goes back.
func (p *OIDCProvider) SignIn(b *Browser, r *Response, address string) *Response {
	p.t.Helper()
	r = b.Follow(r)
	for _, field := range []string{"identifier", "code"} {
		if r.StatusCode != http.StatusOK || !regexp.MustCompile(`name="`+field+`"`).MatchString(r.Text) {
			p.t.Fatalf("signing in: got %s at %s, want a form with the field %s\n%s", r.Status, r.Request.URL.Path, field, r.Text)
		}
		r = b.Post(r.Request.URL.String(), url.Values{"identifier": {address}, field: {map[string]string{"identifier": address, "code": "123456"}[field]}})
	}
	return b.Follow(r)
}

// SignOut confirms the form of the end-session endpoint that r is, as its script does, and goes back.
func (p *OIDCProvider) SignOut(b *Browser, r *Response) *Response {
	p.t.Helper()
	action := regexp.MustCompile(`<form [^>]*action="([^"]+)"`).FindStringSubmatch(r.Text)
	xsrf := regexp.MustCompile(`name="xsrf" value="([^"]+)"`).FindStringSubmatch(r.Text)
	if r.StatusCode != http.StatusOK || action == nil || xsrf == nil {
		p.t.Fatalf("signing out: got %s at %s, want the end-session form\n%s", r.Status, r.Request.URL.Path, r.Text)
	}
	return b.Follow(b.Post(action[1], url.Values{"xsrf": {xsrf[1]}, "logout": {"yes"}}))
}
