package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The example key of RFC 7517, appendix A.1.
const exampleSet = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`

func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(exampleSet), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var log bytes.Buffer
	done := make(chan int, 1)
	go func() {
		code := run(ctx, []string{"verify", "--jwks-file", file, "--issuer", "https://portal.example.com", "--audience", "wiki", "--auth-request", "--listen", "127.0.0.1:0"}, in, &log)
		in.Close()
		done <- code
	}()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	go io.Copy(io.Discard, out)
	address := "http://" + strings.TrimPrefix(strings.TrimSpace(string(line[:n])), "listening on ")
	for path, want := range map[string]int{"/_portero/healthz": http.StatusOK, "/": http.StatusUnauthorized} {
		req, err := http.NewRequest(http.MethodGet, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, resp.Status, want)
		}
	}
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("got exit code %d, want 0\n%s", code, log.String())
	}
	if !strings.Contains(log.String(), "there is no X-Portero-Assertion") {
		t.Errorf("the log does not say why\n%s", log.String())
	}
}
