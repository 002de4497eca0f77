package verify

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
)

// Healthz is answered by every handler: 200 with keys, 503 without. Under this prefix Portero forwards nothing, so it is no path
// of the application.
const Healthz = "/_portero/healthz"

// Handler lets requests through to upstream. nil: it answers 200 instead, for the auth_request of a proxy, which names the request in
// X-Original-Method and X-Original-URI. What is refused is answered with 401 (there is no assertion), 403 (it is not good)
// or 503 (there are no keys), and logged.
func Handler(c *Config, upstream *url.URL, log *slog.Logger) http.Handler {
	pass := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	if upstream != nil {
		pass = proxy(upstream, log)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI == Healthz {
			if !c.Keys.Ready(r.Context()) {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		method, path := r.Method, r.RequestURI
		if upstream == nil {
			method, path = only(r.Header, "X-Original-Method"), only(r.Header, "X-Original-Uri")
		} else if !strings.HasPrefix(path, "/") {
			answer(w, http.StatusBadRequest)
			return
		}
		path, _, _ = strings.Cut(path, "?")
		_, err := c.Check(r.Context(), r.Header, method, path)
		if err == nil {
			pass.ServeHTTP(w, r)
			return
		}
		status := http.StatusForbidden
		var refusal *Refusal
		if errors.As(err, &refusal) {
			status = refusal.Status
		}
		log.Warn("a request was refused", "status", status, "reason", err.Error(), "method", method, "path", path, "peer", r.RemoteAddr)
		answer(w, status)
	})
}

// only is the value of a header that is there once, else "".
func only(h http.Header, name string) string {
	if values := h[name]; len(values) == 1 {
		return values[0]
	}
	return ""
}

func answer(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized { // RFC 9110 section 15.5.2
		w.Header().Set("WWW-Authenticate", "Portero-Assertion")
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}

// proxy carries requests on as they came: host, target and headers byte for byte, save those for one connection.
func proxy(upstream *url.URL, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			path, query, hasQuery := strings.Cut(pr.In.RequestURI, "?")
			*pr.Out.URL = url.URL{Scheme: upstream.Scheme, Host: upstream.Host, Opaque: path, RawQuery: query, ForceQuery: hasQuery}
			if strings.HasPrefix(path, "//") { // net/http takes such an Opaque for an authority
				decoded, _ := url.PathUnescape(path)
				pr.Out.URL.Opaque, pr.Out.URL.Path, pr.Out.URL.RawPath = "", decoded, path
			}
			pr.Out.Host = pr.In.Host
			for _, name := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} { // net/http takes them out
				if values, ok := pr.In.Header[name]; ok {
					pr.Out.Header[name] = values
				}
			}
		},
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Error("the application could not be reached", "error", err)
			answer(w, http.StatusBadGateway)
		},
	}
}
