package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules that are choices of libraries and of their functions cannot be seen from outside before it is too late.
// They are read off the source of everything that runs in production.

// forbiddenImports are packages that nothing of ours imports. // :: package or module → why not, and the places that may
var forbiddenImports = map[string]struct {
	why    string
	except []string
}{
	"text/template": {"pages escape what they are given: html/template", nil},
	"math/rand":     {"what must not be guessed comes from crypto/rand", nil},
	"math/rand/v2": {"what must not be guessed comes from crypto/rand", []string{
		"internal/live/live.go",               // which shard a connection is listed in
		"internal/authflow/refresh_answer.go", // so that replicas do not ask all at once
	}},
	"net/http/pprof":                      {"it opens itself on http.DefaultServeMux", nil},
	"expvar":                              {"it opens itself on http.DefaultServeMux", nil},
	"encoding/gob":                        {"records are JSON with a format number", nil},
	"unsafe":                              {"nothing here needs it", nil},
	"os/exec":                             {"nothing here starts programs", nil},
	"io/ioutil":                           {"its ReadAll has no bound", nil},
	"github.com/go-chi/chi/v5/middleware": {"RealIP, CleanPath, StripSlashes and RedirectSlashes change what is decided on", nil},
	"github.com/logto-io/go/v2/client":    {"its storage, callback parser and verification are not ours", nil},
}

// forbiddenNames are functions and variables of other packages. // :: package → name → why not
var forbiddenNames = map[string]map[string]string{
	"net/http": {
		"DefaultClient": "it waits for ever and follows redirects", "Get": "by http.DefaultClient", "Head": "by http.DefaultClient",
		"Post": "by http.DefaultClient", "PostForm": "by http.DefaultClient",
		"DefaultServeMux": "anybody adds to it", "Handle": "on http.DefaultServeMux", "HandleFunc": "on http.DefaultServeMux",
		"ListenAndServe": "without limits; use package serve", "ListenAndServeTLS": "without limits; use package serve",
		"Serve": "without limits; use package serve", "ServeTLS": "without limits; use package serve",
		"StripPrefix": "it changes what is decided on", "TimeoutHandler": "it buffers whole answers",
		"Redirect": "it lets /\\host and https:host through",
	},
	"net/http/httputil": {"NewSingleHostReverseProxy": "it has a Director"},
	"github.com/alexedwards/scs/v2": {
		"New": "it starts a store of its own; make a literal", "NewSession": "it starts a store of its own; make a literal",
		"NewCookieManager": "it starts a store of its own",
	},
	"github.com/go-jose/go-jose/v4": {"ParseSigned": "it takes other serialisations than the compact one"},
	"crypto/tls":                    {"VersionTLS10": "too old", "VersionTLS11": "too old", "VersionSSL30": "too old"},
}

// forbiddenMembers are fields and methods, whatever they belong to. // :: name → why not, and the places that may
var forbiddenMembers = map[string]struct {
	why    string
	except []string
}{
	"Director":    {"hop-by-hop headers are removed after it, ours among them: use Rewrite", nil},
	"LoadAndSave": {"it writes the session whenever an answer begins", nil},
	"RenewToken":  {"a fresh token has a fresh row", nil},
	"InsecureSkipVerify": {"certificates are verified", []string{
		"cmd/portero/health.go",                // asks its own listener on loopback
		"internal/demo/sampleapp/sampleapp.go", // of a WebSocket: the demonstration takes every origin
	}},
	"VerifyIdToken": {"the SDK's checks miss azp, nonce and more", nil}, "GenerateSignInUri": {"the SDK's parameters are not Logto's", nil},
	"GenerateSignOutUri": {"the SDK's parameters are not Logto's", nil}, "VerifyAndParseCodeFromCallbackUri": {"it takes an empty state for a missing one", nil},
	"CreateRemoteJwks": {"keys come from our key set", nil}, "FetchJwks": {"keys come from our key set", nil},
	"UnsafePayloadWithoutVerification": {"nothing unverified is believed", nil}, "UnsafeClaimsWithoutVerification": {"nothing unverified is believed", nil},
	"SkipClientIDCheck": {"the audience is checked", nil}, "SkipIssuerCheck": {"the issuer is checked", nil}, "InsecureSkipSignatureCheck": {"the signature is checked", nil},
}

// sdk is all that may be used of the Logto SDK's package core: generators, constants, types, discovery and the two token
// calls.
var sdk = []string{
	"GenerateCodeVerifier", "GenerateCodeChallenge", "GenerateState",
	"FetchOidcConfig", "OidcConfigResponse", "CodeTokenResponse",
	"FetchTokenByAuthorizationCode", "FetchTokenByAuthorizationCodeOptions", "FetchTokenByRefreshToken", "FetchTokenByRefreshTokenOptions",
}

var sdkConstants = []string{"QueryKey", "ResponseType", "ReservedScope", "UserScope"}

// onlyIn are texts that stand in few places, so that there is one of each thing. // :: text → why, and the places
var onlyIn = map[string]struct {
	why    string
	places []string
}{
	"Location": {"redirects go through one function, and to one parser's paths", []string{
		"internal/authflow/flow.go",     // redirect: ours or Logto's
		"internal/gateway/fail.go",      // http to https on a host of ours
		"internal/upstream/response.go", // the application's own
		"internal/mail/mail.go",         // taken out of Mailgun's answers
		"internal/demo/",
	}},
	"Set-Cookie": {"cookies are written by http.SetCookie and scs", []string{"internal/upstream/"}},
}

// believers are headers about a request that only these places may read or write.
var believers = []string{"internal/forwarded/", "internal/assertion/", "internal/upstream/", "internal/outbound/", "internal/verify/", "internal/config/", "internal/demo/", "internal/importer/", "internal/doctor/proxy.go", "cmd/"}

func believed(text string) bool {
	text = strings.ToLower(text)
	for _, prefix := range []string{"x-forwarded-", "x-original-", "x-rewrite-", "x-http-method", "x-method-override", "x-real-ip", "true-client-ip"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return text == "forwarded"
}

// boundedReaders are what io.ReadAll may read.
var boundedReaders = []string{"http.MaxBytesReader", "io.LimitReader"}

// readsAll are places where what is read is bounded elsewhere.
var readsAll = []string{"internal/demo/sampleapp/sampleapp.go"} // a WebSocket message, under SetReadLimit

func allowedIn(path string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		return path == place || strings.HasSuffix(place, "/") && strings.HasPrefix(path, place)
	})
}

// breaches lists what a file does that the rules forbid. path is that of the file below the module.
func breaches(path string, f *ast.File, at func(token.Pos) string) []string {
	var out []string
	breach := func(pos token.Pos, what, why string) {
		out = append(out, fmt.Sprintf("%s: %s: %s", at(pos), what, why))
	}
	names := map[string]string{} // :: name in this file → package
	for _, i := range f.Imports {
		pkg, _ := strconv.Unquote(i.Path.Value)
		name := pkg[strings.LastIndexByte(pkg, '/')+1:]
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			parts := strings.Split(pkg, "/")
			name = strings.TrimPrefix(parts[len(parts)-2], "go-")
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = pkg
		if no, ok := forbiddenImports[pkg]; ok && !allowedIn(path, no.except) {
			breach(i.Pos(), "imports "+pkg, no.why)
		}
		if name == "." {
			breach(i.Pos(), "imports "+pkg+" by a dot", "nobody sees where a name comes from")
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			name := n.Sel.Name
			if no, ok := forbiddenMembers[name]; ok && !allowedIn(path, no.except) {
				breach(n.Pos(), "uses "+name, no.why)
			}
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			pkg := names[x.Name]
			if why, ok := forbiddenNames[pkg][name]; ok && !(name == "Redirect" && strings.HasPrefix(path, "internal/demo/")) {
				breach(n.Pos(), "uses "+x.Name+"."+name, why)
			}
			constant := slices.ContainsFunc(sdkConstants, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
			if pkg == "github.com/logto-io/go/v2/core" && !constant && !slices.Contains(sdk, name) {
				breach(n.Pos(), "uses "+x.Name+"."+name, "it is none of the parts of the SDK that are right")
			}
		case *ast.CompositeLit:
			kind := types(n.Type)
			for _, element := range n.Elts {
				pair, ok := element.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				key, ok := pair.Key.(*ast.Ident)
				if !ok {
					continue
				}
				if no, ok := forbiddenMembers[key.Name]; ok && !allowedIn(path, no.except) {
					breach(key.Pos(), "sets "+key.Name, no.why)
				}
				if kind == "scs.SessionManager" && key.Name == "IdleTimeout" {
					breach(key.Pos(), "sets IdleTimeout of scs", "scs then writes the whole record at every load")
				}
			}
			if kind == "http.Server" && path != "internal/serve/serve.go" {
				breach(n.Pos(), "makes an http.Server", "package serve has the limits")
			}
		case *ast.CallExpr:
			if types(n.Fun) != "io.ReadAll" || allowedIn(path, readsAll) {
				return true
			}
			inner, ok := n.Args[0].(*ast.CallExpr)
			if !ok || !slices.Contains(boundedReaders, types(inner.Fun)) {
				breach(n.Pos(), "reads all of something", "give io.ReadAll a bounded reader where it is called")
			}
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if err != nil || n.Kind != token.STRING {
				return true
			}
			if o, ok := onlyIn[text]; ok && !allowedIn(path, o.places) {
				breach(n.Pos(), "has "+strconv.Quote(text), o.why)
			}
			if believed(text) && !allowedIn(path, believers) {
				breach(n.Pos(), "has "+strconv.Quote(text), "a request is believed by package forwarded alone")
			}
		}
		return true
	})
	return out
}

// types is the text of a name or a selector.
func types(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return types(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return types(e.X)
	}
	return ""
}

// production walks over the files that run in production, with their paths below the module.
func production(t *testing.T, see func(path string)) {
	t.Helper()
	for _, root := range []string{"../internal", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			slashed := filepath.ToSlash(path)
			if d.IsDir() && (strings.HasSuffix(slashed, "/gatewaytest") || strings.HasSuffix(slashed, "/storetest") || strings.HasSuffix(slashed, "/redistest") || strings.HasSuffix(slashed, "/replicas") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			if !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				see(strings.TrimPrefix(slashed, "../"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestForbiddenParts(t *testing.T) {
	t.Parallel()
	files := 0
	production(t, func(path string) {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, "../"+path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files++
		for _, b := range breaches(path, f, func(p token.Pos) string { return fmt.Sprintf("%s:%d", path, set.Position(p).Line) }) {
			t.Error(b)
		}
	})
	if files < 100 {
		t.Errorf("files looked at: got %d, want all of them", files)
	}
}

// What TestForbiddenParts would say of files that break a rule.
func TestForbiddenPartsAreSeen(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, path, imports, body, want string }{
		{"a director in a literal", "", `"net/http/httputil"`, `var _ = httputil.ReverseProxy{Director: nil}`, "sets Director"},
		{"a director that is set", "", `"net/http/httputil"`, `func f(p *httputil.ReverseProxy) { p.Director = nil }`, "uses Director"},
		{"a proxy with a director", "", `"net/http/httputil"`, `var _ = httputil.NewSingleHostReverseProxy`, "NewSingleHostReverseProxy"},
		{"the default client", "", `"net/http"`, `var _ = http.DefaultClient`, "http.DefaultClient"},
		{"the default client, renamed", "", `web "net/http"`, `var _, _ = web.Get("x")`, "web.Get"},
		{"a redirect", "", `"net/http"`, `var _ = http.Redirect`, "http.Redirect"},
		{"all of a body", "", `("io"; "net/http")`, `func f(r *http.Request) { io.ReadAll(r.Body) }`, "reads all"},
		{"scs around a handler", "", `"github.com/alexedwards/scs/v2"`, `func f(m *scs.SessionManager) { m.LoadAndSave(nil) }`, "LoadAndSave"},
		{"scs with a store of its own", "", `"github.com/alexedwards/scs/v2"`, `var _ = scs.New()`, "scs.New"},
		{"scs with an idle timeout", "", `"github.com/alexedwards/scs/v2"`, `var _ = &scs.SessionManager{IdleTimeout: 1}`, "IdleTimeout"},
		{"the SDK's verification", "internal/logto/x.go", `"github.com/logto-io/go/v2/core"`, `var _ = core.VerifyIdToken`, "VerifyIdToken"},
		{"the SDK's sign-in URL", "internal/logto/x.go", `"github.com/logto-io/go/v2/core"`, `var _ = core.GenerateSignInUri`, "GenerateSignInUri"},
		{"the SDK's revocation", "internal/logto/x.go", `"github.com/logto-io/go/v2/core"`, `var _ = core.RevokeToken`, "core.RevokeToken"},
		{"the SDK's client", "internal/logto/x.go", `"github.com/logto-io/go/v2/client"`, ``, "imports"},
		{"chi's middleware", "", `"github.com/go-chi/chi/v5/middleware"`, ``, "imports"},
		{"templates that escape nothing", "", `"text/template"`, ``, "imports text/template"},
		{"guessable numbers", "", `"math/rand"`, ``, "imports math/rand"},
		{"guessable numbers, new", "internal/authflow/attempt.go", `"math/rand/v2"`, ``, "imports math/rand/v2"},
		{"profiles", "", `_ "net/http/pprof"`, ``, "imports net/http/pprof"},
		{"unverified certificates", "internal/outbound/outbound.go", `"crypto/tls"`, `var _ = &tls.Config{InsecureSkipVerify: true}`, "InsecureSkipVerify"},
		{"a claim about the URL", "internal/gateway/protect.go", `"net/http"`, `func f(r *http.Request) string { return r.Header.Get("X-Forwarded-Uri") }`, "X-Forwarded-Uri"},
		{"a claim about the method", "internal/route/table.go", `"net/http"`, `func f(r *http.Request) string { return r.Header.Get("x-http-method-override") }`, "x-http-method-override"},
		{"a second place of redirects", "internal/authflow/own.go", `"net/http"`, `func f(w http.ResponseWriter) { w.Header().Set("Location", "/") }`, "Location"},
		{"a listener without limits", "internal/gateway/admin.go", `"net/http"`, `var _ = &http.Server{}`, "http.Server"},
		{"a signature that is not checked", "internal/logto/verify.go", `"github.com/coreos/go-oidc/v3/oidc"`, `var _ = &oidc.Config{InsecureSkipSignatureCheck: true}`, "InsecureSkipSignatureCheck"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.path
			if path == "" {
				path = "internal/x/x.go"
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, "package x\nimport "+tt.imports+"\n"+tt.body, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			got := breaches(path, f, func(token.Pos) string { return path })
			if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tt.want) {
				t.Errorf("got %q, want a breach with %q", got, tt.want)
			}
		})
	}
}

// A place that is excused has to be there, or the excuse goes.
func TestExcusedPlacesExist(t *testing.T) {
	t.Parallel()
	var places []string
	for _, f := range forbiddenImports {
		places = append(places, f.except...)
	}
	for _, f := range forbiddenMembers {
		places = append(places, f.except...)
	}
	for _, o := range onlyIn {
		places = append(places, o.places...)
	}
	for _, place := range slices.Concat(places, readsAll, believers) {
		if _, err := os.Stat("../" + place); err != nil {
			t.Errorf("%s is excused and not there", place)
		}
	}
}
