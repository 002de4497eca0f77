package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

const mailgunKey = "canary-key-0c9d"

// setupFile writes a configuration for setup into a folder of its own.
func setupFile(t *testing.T, endpoint, id, secret string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "portero.yaml")
	text := fmt.Sprintf(`listen: 127.0.0.1:0
external_url: http://localhost:3000
admin: {listen: "127.0.0.1:0"}
logto:
  endpoint: %s
  app_secret_file: logto-secret
  management: {app_id: %s, app_secret: %s}
mailgun: {domain: mg.example.com, api_key: %s, from: "Wiki <no-reply@mg.example.com>"}
session: {store: memory}
email_domains: ["*"]
upstream: http://127.0.0.1:8080
`, endpoint, id, secret, mailgunKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// replace changes a text of a file.
func replace(t *testing.T, file, old, new string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q: %v", file, old, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// portero runs the program without a terminal.
func portero(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := exec.Command("portero", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = gatewaytest.Environment(), &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		t.Fatal(e)
	}
	for _, text := range []string{out.String(), err.String()} {
		if strings.Contains(text, mailgunKey) || strings.Contains(text, "management-secret") {
			t.Errorf("%v prints a secret:\n%s", args, text)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

func TestSetup(t *testing.T) {
	t.Parallel()
	k := gatewaytest.NewTenant(t, gatewaytest.TenantOptions{})
	file := setupFile(t, k.URL, k.ManagementID, k.ManagementSecret)
	secret := filepath.Join(filepath.Dir(file), "logto-secret")
	want := func(code int, args []string, inOut, inErr []string, requests int) (stdout string) {
		t.Helper()
		k.Forget()
		got, stdout, stderr := portero(t, append([]string{"setup"}, append(args, "--config", file)...)...)
		if got != code || len(k.Requests()) != requests {
			t.Fatalf("%v: got exit code %d and the requests %v, want %d and %d\n%s%s", args, got, k.Requests(), code, requests, stdout, stderr)
		}
		for _, part := range inOut {
			if !strings.Contains(stdout, part) {
				t.Errorf("%v: the output lacks %q:\n%s", args, part, stdout)
			}
		}
		for _, part := range inErr {
			if !strings.Contains(stderr, part) {
				t.Errorf("%v: standard error lacks %q:\n%s", args, part, stderr)
			}
		}
		return stdout
	}
	everything := []string{"+ e-mail connector mailgun-email\n", "~ sign-in experience\n", "+   redirectUris: http://localhost:3000/callback\n", "+   apiKey: (sensitive)\n"}

	want(2, nil, nil, []string{"a command is missing"}, 0)
	want(3, []string{"plan"}, everything, nil, 0)
	want(2, []string{"apply"}, everything, []string{"--yes"}, 0)
	if _, err := os.Stat(secret); err == nil {
		t.Error("there is a secret though nothing was applied")
	}
	stdout := want(0, []string{"apply", "--yes"}, append(everything, "\ndone: e-mail connector mailgun-email\ndone: sign-in experience\ndone: application", "\n  app_id: "), nil, 3)
	if info, err := os.Stat(secret); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", info, err)
	}
	id := regexp.MustCompile(`(?m)^  app_id: ([a-z0-9]+)$`).FindStringSubmatch(stdout)
	if id == nil {
		t.Fatalf("no id in\n%s", stdout)
	}

	// Before the line is in the configuration, the application is found by its name.
	again := []string{"nothing to do\n", id[0]}
	want(0, []string{"apply"}, again, nil, 0)
	want(0, []string{"plan"}, again, nil, 0)
	var plan struct {
		AppID                    string `json:"app_id"`
		Changes, Notes, Problems []any
	}
	if stdout := want(0, []string{"plan", "--json"}, nil, nil, 0); json.Unmarshal([]byte(stdout), &plan) != nil ||
		plan.AppID != id[1] || plan.Changes == nil || len(plan.Changes) > 0 || plan.Problems == nil {
		t.Errorf("--json: got\n%s", stdout)
	}
	replace(t, file, "  app_secret_file:", id[0]+"\n  app_secret_file:")
	if got := want(0, []string{"plan"}, nil, nil, 0); got != "nothing to do\n" {
		t.Errorf("got %q, want nothing to do", got)
	}

	// What the configuration has to say first, with its place.
	replace(t, file, id[1], "nobody")
	want(2, []string{"apply", "--yes"}, nil, []string{file + ":6: logto.app_id: the tenant has no application \"nobody\""}, 0)
	replace(t, file, "app_id: nobody", "app_id: "+id[1])
	replace(t, file, k.ManagementSecret, "another-secret")
	want(1, []string{"plan"}, nil, []string{"hint: ", "logto.management.app_secret"}, 0)
	replace(t, file, "management: {app_id: "+k.ManagementID, "management: {app_id: \"\"")
	replace(t, file, ", app_secret: another-secret", "")
	want(2, []string{"plan"}, nil, []string{"logto.management.app_id: ", "Machine-to-machine"}, 0)
}

func TestConfirmStopsWaiting(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "no\n": false, "": false} {
		if got, err := confirm(t.Context(), strings.NewReader(answer), io.Discard, "?"); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", answer, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, _ := io.Pipe()
	defer in.Close()
	if got, err := confirm(ctx, in, io.Discard, "?"); got || err == nil {
		t.Errorf("an interrupted question: got %v, %v, want no and an error", got, err)
	}
}

// A newcomer without an account: the demonstration's provider is set up, and with what setup wrote a gateway of one's own
// signs somebody in.
func TestSetUpTheDemonstrationAndServe(t *testing.T) {
	t.Parallel()
	d, err := demo.Start(demo.Config{PortBase: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the demonstration ended with %v", err)
		}
	})

	file := setupFile(t, d.Addresses.Provider, d.Logto.Management.AppID, d.Logto.Management.AppSecret)
	replace(t, file, "http://127.0.0.1:8080", d.Addresses.Application)
	code, stdout, stderr := portero(t, "setup", "apply", "--yes", "--config", file)
	if code != 0 {
		t.Fatalf("setup: got exit code %d\n%s%s", code, stdout, stderr)
	}
	id := regexp.MustCompile(`(?m)^  app_id: \S+$`).FindString(stdout)
	replace(t, file, "  app_secret_file:", id+"\n  app_secret_file:")

	b := gatewaytest.NewBrowser(t, map[string]string{"localhost": serving(t, file)})
	asked := "http://localhost:3000/reports/headers?year=2026"
	r := b.Visit(asked)
	r = send(t, b, r, "identifier", "ana@example.com")
	r = send(t, b, r, "code", codeOf(t, b, d, "ana@example.com"))
	if r.StatusCode != http.StatusOK || r.Request.URL.String() != asked || !strings.Contains(r.Text, "ana@example.com") {
		t.Fatalf("after signing in: got %s at %s, want 200 at %s\n%s", r.Status, r.Request.URL, asked, r.Text)
	}
}

// serving runs the gateway until the test ends, and returns where it listens.
func serving(t *testing.T, file string) string {
	t.Helper()
	cmd := exec.Command("portero", "serve", "--config", file)
	var log bytes.Buffer
	cmd.Env, cmd.Stderr = gatewaytest.Environment(), &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); strings.HasPrefix(lines.Text(), "listening on ") && len(words) > 2 {
			go io.Copy(io.Discard, out)
			return words[2]
		}
	}
	cmd.Wait()
	t.Fatalf("it does not listen:\n%s", log.String())
	return ""
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formField  = regexp.MustCompile(`<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"`)
)

// send fills in the provider's form.
func send(t *testing.T, b *gatewaytest.Browser, r *gatewaytest.Response, field, value string) *gatewaytest.Response {
	t.Helper()
	fields := url.Values{}
	for _, m := range formField.FindAllStringSubmatch(r.Text, -1) {
		fields.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	fields.Set(field, value)
	to := r.Request.URL
	if m := formAction.FindStringSubmatch(r.Text); m != nil {
		var err error
		if to, err = to.Parse(html.UnescapeString(m[1])); err != nil {
			t.Fatal(err)
		}
	} else if !strings.Contains(r.Text, "<form") {
		t.Fatalf("%s at %s has no form:\n%s", r.Status, r.Request.URL, r.Text)
	}
	return b.Follow(b.Post(to.String(), fields))
}

// codeOf reads the newest code for an address in the mailbox.
func codeOf(t *testing.T, b *gatewaytest.Browser, d *demo.Demo, address string) string {
	t.Helper()
	r := b.Get(d.Addresses.Mailbox + "/api/messages?to=" + url.QueryEscape(address))
	var mails []struct{ Code string }
	if err := json.Unmarshal([]byte(r.Text), &mails); err != nil || len(mails) == 0 {
		t.Fatalf("mailbox for %s: %v\n%s", address, err, r.Text)
	}
	return mails[0].Code
}
