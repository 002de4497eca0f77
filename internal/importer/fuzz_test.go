package importer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"portero/internal/config"
	"portero/internal/importer"
)

// seeds are the inputs of the golden files, by the name of the file in them.
func seeds(f *testing.F, peer string, names ...string) {
	files, err := filepath.Glob(filepath.Join("testdata", peer, "*.txtar"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files of %s: %v", peer, err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		parts := make([]string, len(names))
		for i, name := range names {
			for _, part := range archive.Files {
				if part.Name == name || strings.HasPrefix(part.Name, name+".") {
					parts[i] = string(part.Data)
				}
			}
		}
		switch len(parts) {
		case 2:
			f.Add(parts[0], parts[1])
		case 3:
			f.Add(parts[0], parts[1], parts[2])
		}
	}
}

// checked is what every import keeps, whatever it reads: it fails, or check takes what comes out, save names of files that
// are not there; nobody comes in whom the options do not name; the notes are lines.
func checked(t *testing.T, dir string, in importer.Input, do run) (*importer.Result, *config.Config) {
	t.Helper()
	o := everything()
	o.Dir = dir
	o.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	r, err := do(in, o)
	if err != nil {
		return nil, nil
	}
	for _, n := range r.Notes {
		if n.Option == "portero check" {
			t.Errorf("check refuses what comes out: %s\n%s", n.Text, r.YAML)
		}
		if n.Text == "" || strings.ContainsAny(n.String(), "\n\r\x1b\x00") {
			t.Errorf("the note %q is no line", n)
		}
	}
	c, err := load(dir, r.YAML)
	var problems config.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			missing := strings.HasSuffix(p.Key, "_file") || // told; the operator makes them
				strings.HasPrefix(p.Message, "is missing") && noted(r, p.Key)
			if !missing {
				t.Errorf("check: %s\n%s", p, r.YAML)
			}
		}
		return r, nil
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, r.YAML)
	}
	for _, one := range c.Routes {
		for _, a := range one.Allow {
			if slices.Contains(a.EmailDomains, "*") && len(a.Roles) == 0 {
				t.Errorf("everybody comes in:\n%s", r.YAML)
			}
		}
	}
	if c.IsInsecure(config.InsecurePublicRoot) || c.IsInsecure(config.InsecureTrustEverybody) || c.IsInsecure(config.InsecureUnverifiedEmail) {
		t.Errorf("insecure: %q", c.Insecure)
	}
	return r, c
}

// noted says whether the notes ask for what is missing.
func noted(r *importer.Result, key string) bool {
	if strings.HasSuffix(key, ".allow") || key == "allow" {
		key = "allow"
	}
	return slices.ContainsFunc(r.Notes, func(n importer.Note) bool { return strings.HasPrefix(n.Option, strings.SplitN(key, "[", 2)[0]) })
}

func FuzzOAuth2Proxy(f *testing.F) {
	dir := folder(f)
	seeds(f, "oauth2-proxy", "config", "alpha", "env")
	f.Add("skip_auth_routes = ['^/a$', 'GET=^/b/', '!=^/c', '^/d']\nupstreams='http://a'\nemail_domains='a.example'", "", "")
	f.Fuzz(func(t *testing.T, toml, alpha, env string) {
		in := importer.Input{Name: "oauth2-proxy.cfg", Config: []byte(toml), Env: []byte(env)}
		if alpha != "" {
			in.Alpha = []byte(alpha)
		}
		_, c := checked(t, dir, in, importer.OAuth2Proxy)
		if c == nil {
			return
		}
		// What is open is what an expression somewhere in the input matches.
		var expressions []*regexp.Regexp
		for _, word := range regexp.MustCompile(`\^/[^"',\n]*`).FindAllString(strings.ReplaceAll(toml, `\\`, `\`)+"\n"+env, -1) {
			if re, err := regexp.Compile(word); err == nil {
				expressions = append(expressions, re)
			}
		}
		for _, r := range c.Routes {
			if r.Access == config.AccessOptional {
				t.Errorf("%s is optional", r.Path)
			}
			if r.Access != config.AccessPublic || strings.ContainsAny(toml+env, "\\\"'[\u0000") && strings.Contains(toml, `\u`) {
				continue
			}
			if !slices.ContainsFunc(expressions, func(re *regexp.Regexp) bool {
				return re.MatchString(r.Path) || re.MatchString(r.Path+"/")
			}) && !strings.Contains(toml+env, `"""`) && !strings.Contains(toml, `'''`) {
				t.Errorf("%s is public, and nothing says so:\n%s\n%s", r.Path, toml, env)
			}
		}
	})
}

func FuzzTraefikForwardAuth(f *testing.F) {
	dir := folder(f)
	seeds(f, "traefik-forward-auth", "config", "env")
	f.Fuzz(func(t *testing.T, ini, env string) {
		_, c := checked(t, dir, importer.Input{Name: "forward.ini", Config: []byte(ini), Env: []byte(env)}, importer.TraefikForwardAuth)
		if c == nil {
			return
		}
		for _, r := range c.Routes {
			switch {
			case r.Access == config.AccessOptional:
				t.Errorf("%s is optional", r.Path)
			case r.Access == config.AccessPublic && !strings.Contains(ini+env, "allow"):
				t.Errorf("%s is public, and no rule allows:\n%s", r.Path, ini)
			case r.Access == config.AccessPublic && r.Path == "/" && r.Match == config.MatchPrefix:
				t.Errorf("everything is public:\n%s", ini)
			}
		}
	})
}

func FuzzVouch(f *testing.F) {
	dir := folder(f)
	seeds(f, "vouch", "config", "env")
	f.Fuzz(func(t *testing.T, yaml, env string) {
		_, c := checked(t, dir, importer.Input{Name: "config.yml", Config: []byte(yaml), Env: []byte(env)}, importer.Vouch)
		if c == nil {
			return
		}
		for _, r := range c.Routes {
			if r.Access == config.AccessPublic || r.Access == config.AccessOptional && !strings.Contains(strings.ToLower(yaml+env), "publicaccess") {
				t.Errorf("%s is %s, and nothing says so:\n%s\n%s", r.Path, r.Access, yaml, env)
			}
		}
	})
}

func FuzzSplitArgs(f *testing.F) {
	f.Add("--a=b 'c d' \"e\\\"f\" # x\n\\\n--g")
	f.Fuzz(func(t *testing.T, text string) {
		args, err := importer.SplitArgs([]byte(text))
		if err != nil {
			return
		}
		if _, err := importer.OAuth2Proxy(importer.Input{Args: args}, importer.Options{Dir: os.TempDir()}); err != nil {
			t.Errorf("flags alone are refused: %v", err)
		}
	})
}
