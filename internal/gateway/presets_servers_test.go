package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// received is what an application on a real server says it was given.
type received struct {
	Env     map[string]string // PHP's $_SERVER, or the environ of WSGI
	Decoded map[string]string // the headers among them, decoded as docs/headers.md tells applications to
}

// headers are the members of the environment that an application could take for one of names, canonical.
func (r received) headers(names []string) http.Header {
	h := http.Header{}
	for key, value := range r.Env {
		if name := spokenOf(key); slices.Contains(names, name) {
			h[name] = append(h[name], value)
		}
	}
	return h
}

// spokenOf is the header that an environment's name stands for, whatever stands between its words.
func spokenOf(key string) string {
	return http.CanonicalHeaderKey(strings.NewReplacer("_", "-", ".", "-", "~", "-").Replace(strings.TrimPrefix(key, "HTTP_")))
}

// appServer is a real server with an application that prints what it received as JSON.
type appServer struct {
	name, address string
	// believes are spellings that it takes for X-Forwarded-User when nothing is in front of it.
	believes []string
}

// fastCGI is PHP as a server of FastCGI. It is given a listener, as the protocol has it.
func fastCGI(t *testing.T) (address string) {
	t.Helper()
	program := gatewaytest.Need(t, "php-cgi")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.Command(program)
	cmd.Stdin = socket
	gatewaytest.Run(t, "php-cgi", cmd)
	return l.Addr().String()
}

const phpReceived = `<?php
header('Content-Type: application/json');
$env = array_filter($_SERVER, 'is_string');
$headers = array_filter($env, fn($name) => str_starts_with($name, 'HTTP_'), ARRAY_FILTER_USE_KEY);
echo json_encode(['Env' => $env, 'Decoded' => array_map('rawurldecode', $headers)], JSON_THROW_ON_ERROR);
`

// phpBehindNginx reads every name that nginx can be told to read; its own default leaves most of them out.
// Of what comes twice PHP keeps the last, which is the odd spelling, since the gateway sends names in order.
func phpBehindNginx(t *testing.T) appServer {
	t.Helper()
	program, php := gatewaytest.Need(t, "nginx"), fastCGI(t)
	port := gatewaytest.Listening(t, "nginx", func(port string) *exec.Cmd {
		dir := gatewaytest.WorkDir(t, map[string]string{"app.php": phpReceived, "nginx.conf": `daemon off; master_process off; pid @DIR@/pid; error_log stderr warn;
events {}
http {
  access_log off; underscores_in_headers on; ignore_invalid_headers off; large_client_header_buffers 8 64k;
  client_body_temp_path @DIR@; proxy_temp_path @DIR@; fastcgi_temp_path @DIR@; uwsgi_temp_path @DIR@; scgi_temp_path @DIR@;
  server {
    listen 127.0.0.1:` + port + `;
    location / {
      fastcgi_pass ` + php + `;
      fastcgi_param SCRIPT_FILENAME @DIR@/app.php;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param REQUEST_URI $request_uri;
    }
  }
}
`})
		return exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	})
	return appServer{name: "nginx", address: "127.0.0.1:" + port, believes: []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X.Forwarded.User", "x_forwarded.USER"}}
}

// phpBehindApache is told of no name but those of letters, digits and dashes. Apache joins what comes twice.
func phpBehindApache(t *testing.T) appServer {
	t.Helper()
	program, php := gatewaytest.Need(t, "apache2", "httpd"), fastCGI(t)
	const modules = "/usr/lib/apache2/modules"
	if _, err := os.Stat(modules); errors.Is(err, fs.ErrNotExist) {
		gatewaytest.Lacks(t, "no modules of Apache in "+modules)
	}
	port := gatewaytest.Listening(t, "Apache", func(port string) *exec.Cmd {
		var load strings.Builder
		for _, module := range []string{"mpm_event", "authz_core", "alias", "proxy", "proxy_fcgi"} {
			fmt.Fprintf(&load, "LoadModule %[1]s_module %[2]s/mod_%[1]s.so\n", module, modules)
		}
		dir := gatewaytest.WorkDir(t, map[string]string{"app.php": phpReceived, "httpd.conf": load.String() + `ServerRoot @DIR@
ServerName app.test
Listen 127.0.0.1:` + port + `
User www-data
Group www-data
PidFile @DIR@/pid
ErrorLog /dev/stderr
HttpProtocolOptions Unsafe
LimitRequestFields 1000
AliasMatch ".*" @DIR@/app.php
ProxyFCGIBackendType GENERIC
<Directory @DIR@>
  Require all granted
  SetHandler "proxy:fcgi://` + php + `"
</Directory>
`})
		return exec.Command(program, "-d", dir, "-f", filepath.Join(dir, "httpd.conf"), "-D", "FOREGROUND")
	})
	return appServer{name: "apache", address: "127.0.0.1:" + port, believes: []string{"X-Forwarded-User", "x-forwarded-user"}}
}

// pythonWSGI is the WSGI server of Python's own library. It takes an underscore for a dash, and joins what comes twice.
func pythonWSGI(t *testing.T) appServer {
	t.Helper()
	said, ended := gatewaytest.Run(t, "wsgiref", exec.Command(gatewaytest.Need(t, "python3"), "-u", "-c", `
import json, socketserver, urllib.parse
from wsgiref.simple_server import WSGIServer, make_server
class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
def app(environ, start):
    env = {k: v for k, v in environ.items() if isinstance(v, str)}
    decoded = {k: urllib.parse.unquote(v) for k, v in env.items() if k.startswith('HTTP_')}
    start('200 OK', [('Content-Type', 'application/json')])
    return [json.dumps({'Env': env, 'Decoded': decoded}).encode()]
server = make_server('127.0.0.1', 0, app, Server)
print('listens on 127.0.0.1:%d.' % server.server_port)
server.serve_forever()`))
	var address string
	gatewaytest.Await(t, "wsgiref listens", func() bool {
		select {
		case <-ended:
			t.Fatalf("wsgiref ended:\n%s", said)
		default:
		}
		_, rest, _ := strings.Cut(said.String(), "listens on ")
		var whole bool
		address, _, whole = strings.Cut(rest, ".\n")
		return whole
	})
	return appServer{name: "python", address: address, believes: []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "x_forwarded-USER"}}
}

// spellings are ways to write a header's name that some server takes for the same.
func spellings(name string) []string {
	upper, lower := strings.ToUpper(name), strings.ToLower(name)
	first := strings.Index(name, "-")
	return []string{
		name, upper, lower, strings.ToLower(name[:1]) + upper[1:],
		strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(lower, "-", "_"), strings.ReplaceAll(upper, "-", "_"),
		strings.ReplaceAll(name, "-", "."), strings.ReplaceAll(lower, "-", "."), strings.ReplaceAll(upper, "-", "."), strings.ReplaceAll(name, "-", "~"),
		name[:first] + "_" + lower[first+1:], name[:first] + "." + strings.ReplaceAll(upper[first+1:], "-", "_"),
	}
}

// forgedLines claims each of names in every spelling, as a header and as one that is for this connection only.
func forgedLines(names []string) string {
	var lines strings.Builder
	for _, name := range names {
		for _, spelling := range spellings(name) {
			lines.WriteString(spelling + ": forged\r\n")
		}
	}
	return lines.String() + "Connection: close, " + strings.Join(names, ", ") + "\r\n"
}

// readReceived is the answer of an application.
func readReceived(t *testing.T, a *gatewaytest.Answer) (r received) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("the application: got %s, want 200\n%s", a, a.Body)
	}
	if err := json.Unmarshal([]byte(a.Body), &r); err != nil {
		t.Fatalf("the application said %q: %v", a.Body, err)
	}
	return r
}

// sawNothingForged fails for every member of the environment that has what a client forged.
func (r received) sawNothingForged(t *testing.T, who string) {
	t.Helper()
	for key, value := range r.Env {
		if strings.Contains(value, "forged") {
			t.Errorf("%s: the application got %s=%q from the client", who, key, value)
		}
	}
}

// PHP behind nginx and behind Apache and Python behind WSGI are told of every person what each preset says: each header
// once, to be decoded as the documentation has it, and nothing that the client sent in any spelling of any of the names.
func TestPresetsOnRealServers(t *testing.T) {
	t.Parallel()
	const signedHeader = "X-Pomerium-Jwt-Assertion"
	names := []string{signedHeader, "X-Portero-Assertion"}
	for _, preset := range gatewaytest.Presets() {
		names = append(names, gatewaytest.PresetNames(preset)...)
	}
	var servers []appServer
	for _, start := range []func(*testing.T) appServer{phpBehindNginx, phpBehindApache, pythonWSGI} {
		servers = append(servers, start(t))
	}
	path := func(s appServer, preset string) string { return "/" + s.name + "/" + presetWord(preset) }
	var routes strings.Builder
	for _, s := range servers {
		upstreams := "upstreams: [{url: \"http://" + s.address + "\"}]"
		fmt.Fprintf(&routes, "\n  - {path: /%s/open, access: public, %s}", s.name, upstreams)
		for _, preset := range gatewaytest.Presets() {
			fmt.Fprintf(&routes, "\n  - {path: %s, %s, identity: {preset: %q}}", path(s, preset), upstreams, preset)
		}
	}
	rig := gatewaytest.New(t, &gatewaytest.Options{Routes: routes.String() + "\n  - {path: /, upstreams: [{url: UPSTREAM}]}"})
	head := func(path, lines string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(rig.URL, "http://") + "\r\n" + lines + "\r\n"
	}
	forged := forgedLines(names)

	for _, s := range servers {
		for _, spelling := range s.believes { // or what follows would show nothing
			c := rig.DialAs(t, gatewaytest.Dialing{To: s.address})
			c.Send(head("/", spelling+": forged\r\nConnection: close\r\n"))
			if got := readReceived(t, c.Answer("GET")).Env["HTTP_X_FORWARDED_USER"]; got != "forged" {
				t.Errorf("%s, asked without a gateway with %s: got %q, want %q", s.name, spelling, got, "forged")
			}
		}
		r := readReceived(t, rig.Raw(t, head("/"+s.name+"/open", forged)))
		r.sawNothingForged(t, "nobody on "+s.name)
		if got := r.headers(names); len(got) != 0 {
			t.Errorf("nobody on %s: got %q, want nothing", s.name, got)
		}
	}
	for _, person := range gatewaytest.People() {
		rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.Person = person.Claims })
		session := "Cookie: " + rig.Cookie() + "=" + rig.SignedIn(t, "/").Cookies("localhost")[rig.Cookie()] + "\r\n"
		for _, s := range servers {
			for _, preset := range gatewaytest.Presets() {
				r := readReceived(t, rig.Raw(t, head(path(s, preset), session+forged)))
				who := fmt.Sprintf("%s on %s, preset %q", person.Name, s.name, preset)
				r.sawNothingForged(t, who)
				got := r.headers(names)
				if signed := got[signedHeader]; preset == "pomerium" && (len(signed) != 1 || strings.Count(signed[0], ".") != 2 || strings.ContainsAny(signed[0], ", ")) {
					t.Errorf("%s: the signed assertion is %q, want one", who, signed)
				} else if preset == "pomerium" {
					delete(got, signedHeader)
				}
				if want := person.Header(preset); !equalHeaders(got, want) {
					t.Errorf("%s: got\n%q, want\n%q", who, got, want)
				}
				for key, decoded := range r.Decoded {
					name := spokenOf(key)
					if want, _ := person.Claims["name"].(string); strings.HasSuffix(name, "-Name") && slices.Contains(names, name) && decoded != want {
						t.Errorf("%s: %s decoded is %q, want %q", who, name, decoded, want)
					}
				}
			}
		}
	}
}

// presetWord is a preset as it stands in a path.
func presetWord(preset string) string {
	if preset == "" {
		return "default"
	}
	return preset
}
