package verify_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"portero/internal/assertion/signed"
	"portero/internal/gatewaytest"
	"portero/internal/identity"
	"portero/internal/seal"
)

// sample is one of the texts for applications, in docs/assertion.md.
type sample struct {
	language string
	file     string
	programs []string // what runs it, or looks for its library
	lacks    []string // fails where the library of the sample is not there
}

// jars are Jackson where Debian's package has it, and the folder of the sample.
const jars = ".:/usr/share/java/jackson-core.jar:/usr/share/java/jackson-annotations.jar:/usr/share/java/jackson-databind.jar"

var samples = []sample{
	{"go", "main.go", []string{"go"}, []string{"version"}},
	{"python", "sample.py", []string{"python3", "/usr/bin/python3"}, []string{"-c", "import jwt, cryptography"}},
	{"php", "sample.php", []string{"php"}, []string{"-r", "exit(function_exists('openssl_verify') ? 0 : 1);"}},
	{"js", "sample.mjs", []string{"node"}, []string{"-e", "require.resolve('jose')"}},
	{"java", "Subject.java", []string{"javap"}, []string{"-cp", jars, "com.fasterxml.jackson.databind.ObjectMapper"}},
}

// command is how the sample is run, in dir, with a token and the URL of the key set as its arguments.
func (s sample) command(t *testing.T, dir string) []string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/assertion.md")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("(?s)```" + s.language + "\n(.*?)```").FindSubmatch(doc)
	if text == nil {
		t.Fatalf("docs/assertion.md has no sample in %s", s.language)
	}
	file := filepath.Join(dir, s.file)
	if err := os.WriteFile(file, text[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if s.language == "js" { // Node looks for a library in the folder of the script and above
		modules, err := filepath.Abs("../gatewaytest/oidcprovider/node_modules")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range s.programs {
		cmd := exec.Command(program, s.lacks...)
		cmd.Dir = dir
		if cmd.Run() != nil {
			continue
		}
		var build []string
		run := []string{program, file}
		switch s.language {
		case "go":
			run = []string{filepath.Join(dir, "sample")}
			build = []string{"go", "build", "-o", run[0], file}
		case "java":
			run = []string{"java", "-cp", jars, "Subject"}
			build = []string{"javac", "-cp", jars, file}
		}
		if build != nil {
			if out, err := exec.Command(build[0], build[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", build[0], err, out)
			}
		}
		return run
	}
	gatewaytest.Lacks(t, "no "+s.programs[0]+" on this machine, or not the library of the sample")
	return nil
}

// The samples that people copy take what Portero signs, and nothing that is wrong.
func TestSamples(t *testing.T) {
	t.Parallel()
	ring, err := seal.NewKeyRing([]byte("a secret of thirty-two bytes, one"))
	if err != nil {
		t.Fatal(err)
	}
	k := signed.NewKeys(ring, nil)
	s, stranger := newSigner(t, "k1"), newSigner(t, "k1")
	ours := newSource(t, s.jwk(t))
	portero := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(k.JWKS())
	}))
	t.Cleanup(portero.Close)
	now := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	claim := func(changes map[string]any) string {
		all := map[string]any{"iat": now(0), "exp": now(time.Hour)}
		maps.Copy(all, changes)
		return s.token(all)
	}
	fresh := claim(nil)
	parts := strings.Split(fresh, ".")
	wrong := map[string]string{
		"algorithm none":       b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".",
		"another key":          stranger.raw(stranger.header(nil), mustDecode(t, parts[1])),
		"an unknown key":       s.raw(s.header(map[string]any{"kid": "k2"}), mustDecode(t, parts[1])),
		"another audience":     claim(map[string]any{"aud": "https://build.example.com"}),
		"no audience":          claim(map[string]any{"aud": nil}),
		"another issuer":       claim(map[string]any{"iss": "https://evil.test"}),
		"expired":              claim(map[string]any{"iat": now(-2 * time.Minute), "exp": now(-time.Minute)}),
		"without end":          claim(map[string]any{"exp": nil}),
		"without a subject":    claim(map[string]any{"sub": nil}),
		"changed":              parts[0] + "." + b64(claims(map[string]any{"sub": "root", "iat": now(0), "exp": now(time.Hour)})) + "." + parts[2],
		"a signature of zeros": parts[0] + "." + parts[1] + "." + b64(make([]byte, 64)),
		"cut":                  parts[0] + "." + parts[1],
	}
	for _, one := range samples {
		t.Run(one.language, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			command := one.command(t, dir)
			ask := func(token, set string) (string, error) {
				cmd := exec.Command(command[0], append(command[1:len(command):len(command)], token, set)...)
				cmd.Dir = dir
				var out, says bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &says
				err := cmd.Run()
				if err != nil {
					err = fmt.Errorf("%w\n%s", err, says.Bytes())
				}
				return strings.TrimSpace(out.String()), err
			}
			good, err := (&signed.Assertion{Keys: k, Issuer: issuer}).Token(&identity.Identity{Subject: "u1", Name: "José", Roles: []string{"admin"}}, signed.Request{Origin: audience})
			if err != nil {
				t.Fatal(err)
			}
			for set, token := range map[string]string{portero.URL: good, ours.URL: fresh} {
				if got, err := ask(token, set); err != nil || got != "u1" {
					t.Fatalf("what is good: got %q, %v", got, err)
				}
			}
			for name, token := range wrong {
				if got, err := ask(token, ours.URL); err == nil || strings.Contains(got, "u1") || strings.Contains(got, "root") {
					t.Errorf("%s: got %q, %v; want a refusal", name, got, err)
				}
			}
		})
	}
}

func mustDecode(t *testing.T, part string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
