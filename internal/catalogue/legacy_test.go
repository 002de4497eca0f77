package catalogue_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
)

// legacy is a real server of those that applications stand on. It answers every request with what it understood.
type legacy struct {
	name string
	url  string
	log  *gatewaytest.Lines // for each request that it saw, a line with "seen", its method and its target
}

// seen are the lines about requests.
func (l *legacy) seen() []string {
	return slices.DeleteFunc(strings.Split(l.log.String(), "\n"), func(line string) bool { return !strings.Contains(line, "seen ") })
}

// understood is one request as a server read it.
type understood struct {
	Method, Path string
	Header       map[string][]string // by folded name
}

// readUnderstood reads a server's answer: lines of "method …", "path …", and headers as "NAME: VALUE" or, where the
// server speaks CGI, "HTTP_NAME: VALUE". ok is false for an answer that is no such report.
func readUnderstood(body string) (u understood, ok bool) {
	u.Header = map[string][]string{}
	body = strings.ReplaceAll(body, "%0D%0A", "\n") // HAProxy writes line ends so
	for line := range strings.Lines(body) {
		line = strings.TrimRight(line, "\r\n")
		if name, value, is := strings.Cut(line, ": "); is {
			name = fold(strings.TrimPrefix(name, "HTTP_"))
			u.Header[name] = append(u.Header[name], value)
			continue
		}
		if path, is := strings.CutPrefix(line, "path "); is {
			u.Path, ok = path, true
		}
		if method, is := strings.CutPrefix(line, "method "); is {
			u.Method = method
		}
	}
	return u, ok
}

// legacies starts all of them; each ends with the test.
func legacies(t *testing.T) []*legacy {
	t.Helper()
	return []*legacy{nginxUpstream(t), apacheUpstream(t), haproxyUpstream(t), nodeUpstream(t), pythonUpstream(t), phpUpstream(t)}
}

// start runs the server until the end of the test.
func (l *legacy) start(t *testing.T, port string, cmd *exec.Cmd) *legacy {
	t.Helper()
	l.url, l.log = "http://127.0.0.1:"+port, gatewaytest.Daemon(t, l.name, port, cmd)
	return l
}

// told are the identity headers in the order of a report.
var told = []string{"X-Auth-Sub", "X-Auth-Email", "X-Auth-Name", "X-Auth-Roles", "X-Auth-Tenant"}

// nginxUpstream reads headers with underscores and odd bytes, which its own default would leave out.
func nginxUpstream(t *testing.T) *legacy {
	program, port := gatewaytest.Need(t, "nginx"), gatewaytest.FreePort(t)
	var report strings.Builder
	for _, name := range told {
		fmt.Fprintf(&report, `HTTP_%[1]s: $http_%[1]s\n`, strings.ToLower(strings.ReplaceAll(name, "-", "_")))
	}
	dir := gatewaytest.WorkDir(t, map[string]string{"nginx.conf": `daemon off; master_process off; pid @DIR@/pid; error_log stderr;
events {}
http {
  underscores_in_headers on; ignore_invalid_headers off; large_client_header_buffers 8 64k; default_type text/plain;
  log_format seen 'seen $request_method $request_uri';
  access_log /dev/stdout seen;
  client_body_temp_path @DIR@; proxy_temp_path @DIR@; fastcgi_temp_path @DIR@; uwsgi_temp_path @DIR@; scgi_temp_path @DIR@;
  server { listen 127.0.0.1:` + port + `; location / { return 200 "method $request_method\npath $uri\n` + report.String() + `"; } }
}
`})
	return (&legacy{name: "nginx"}).start(t, port, exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf")))
}

// apacheUpstream hands everything to PHP over CGI. Its own reading of the path is what mod_rewrite sees.
func apacheUpstream(t *testing.T) *legacy {
	program, php, port := gatewaytest.Need(t, "apache2", "httpd"), gatewaytest.Need(t, "php-cgi"), gatewaytest.FreePort(t)
	dir := gatewaytest.WorkDir(t, map[string]string{
		"httpd.conf": `ServerRoot @DIR@
ServerName gw.test
Listen 127.0.0.1:` + port + `
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
User www-data
Group www-data
PidFile @DIR@/pid
ScriptSock @DIR@/cgid.sock
ErrorLog /dev/stderr
LogFormat "seen %m %U%q %r" seen
CustomLog /dev/stdout seen
HttpProtocolOptions Unsafe
AllowEncodedSlashes On
MergeSlashes On
RewriteEngine On
RewriteRule ^(.*)$ - [E=UNDERSTOOD:$1]
ScriptAliasMatch ".*" @DIR@/report.sh
<Directory @DIR@>
  Require all granted
  Options +ExecCGI
</Directory>
`,
		"report.sh":  "#!/bin/sh\nREDIRECT_STATUS=200 SCRIPT_FILENAME=@DIR@/report.php exec " + php + "\n",
		"report.php": phpReport,
	})
	// The modules log for themselves in the foreground.
	return (&legacy{name: "Apache with PHP over CGI"}).start(t, port, exec.Command(program, "-d", dir, "-f", filepath.Join(dir, "httpd.conf"), "-D", "FOREGROUND"))
}

const phpReport = `<?php
header('Content-Type: text/plain');
echo 'method ', $_SERVER['REQUEST_METHOD'], "\n", 'path ', $_SERVER['UNDERSTOOD'] ?? $_SERVER['SCRIPT_NAME'], "\n";
foreach ($_SERVER as $name => $value) { if (strpos($name, 'HTTP_') === 0) { echo $name, ': ', $value, "\n"; } }
isset($_SERVER['UNDERSTOOD']) || file_put_contents('php://stderr', 'seen ' . $_SERVER['REQUEST_METHOD'] . ' ' . $_SERVER['REQUEST_URI'] . "\n");
`

// phpUpstream is PHP's built-in server.
func phpUpstream(t *testing.T) *legacy {
	program, port := gatewaytest.Need(t, "php"), gatewaytest.FreePort(t)
	dir := gatewaytest.WorkDir(t, map[string]string{"report.php": phpReport})
	return (&legacy{name: "PHP"}).start(t, port, exec.Command(program, "-S", "127.0.0.1:"+port, filepath.Join(dir, "report.php")))
}

func haproxyUpstream(t *testing.T) *legacy {
	program, port := gatewaytest.Need(t, "haproxy"), gatewaytest.FreePort(t)
	dir := gatewaytest.WorkDir(t, map[string]string{"haproxy.cfg": `global
  expose-experimental-directives
  log stdout format raw local0
defaults
  mode http
  log global
  option accept-invalid-http-request
  option dontlognull
  log-format "seen %HM %HU"
  timeout client 20s
  timeout server 20s
  timeout connect 5s
frontend app
  bind 127.0.0.1:` + port + `
  http-request normalize-uri percent-decode-unreserved
  http-request normalize-uri path-strip-dot
  http-request normalize-uri path-strip-dotdot full
  http-request normalize-uri path-merge-slashes
  http-request return status 200 content-type text/plain lf-string "method %[method]\npath %[path,url_dec]\n%[req.hdrs]"
`})
	return (&legacy{name: "HAProxy"}).start(t, port, exec.Command(program, "-db", "-f", filepath.Join(dir, "haproxy.cfg")))
}

func nodeUpstream(t *testing.T) *legacy {
	program, port := gatewaytest.Need(t, "node"), gatewaytest.FreePort(t)
	return (&legacy{name: "Node"}).start(t, port, exec.Command(program, "-e", `
require('http').createServer({insecureHTTPParser: true}, (req, res) => {
  console.log('seen', req.method, req.url);
  let path;
  try { path = decodeURIComponent(new URL(req.url, 'http://x').pathname) } catch { path = 'unreadable' }
  let out = 'method ' + req.method + '\npath ' + path + '\n';
  for (let i = 0; i < req.rawHeaders.length; i += 2) out += req.rawHeaders[i] + ': ' + req.rawHeaders[i + 1] + '\n';
  req.resume();
  req.on('end', () => { res.setHeader('Content-Type', 'text/plain'); res.end(out) });
}).listen(`+port+`, '127.0.0.1')`))
}

// pythonUpstream is the WSGI server of Python's own library.
func pythonUpstream(t *testing.T) *legacy {
	program, port := gatewaytest.Need(t, "python3"), gatewaytest.FreePort(t)
	return (&legacy{name: "Python over WSGI"}).start(t, port, exec.Command(program, "-u", "-c", `
from wsgiref.simple_server import make_server, WSGIServer, WSGIRequestHandler
from socketserver import ThreadingMixIn
class Handler(WSGIRequestHandler):
    protocol_version = 'HTTP/1.0'
class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
def app(env, start):
    print('seen', env['REQUEST_METHOD'], env['PATH_INFO'])
    out = 'method ' + env['REQUEST_METHOD'] + '\npath ' + env['PATH_INFO'].encode('latin-1').decode('utf-8', 'replace') + '\n'
    for name, value in env.items():
        if name.startswith('HTTP_'):
            out += name + ': ' + str(value) + '\n'
    start('200 OK', [('Content-Type', 'text/plain')])
    return [out.encode('utf-8', 'replace')]
make_server('127.0.0.1', `+port+`, app, Server, Handler).serve_forever()`))
}
