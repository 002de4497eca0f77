package doctor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"portero/internal/config"
)

// running is the gateway that runs with a configuration on this machine, and what stands in front of it.
type running struct {
	config  *config.Config
	version string
	asker   asker
	ask     func(ctx context.Context, method, path string, query url.Values, into any) error // Options.Admin

	ready    once[answer]
	external once[Finding]
	arrived  once[reflected]
}

// frontChecks are the checks of the gateway itself and of its address. end lets go of connections.
func frontChecks(o Options) (checks []check, end func()) {
	r := &running{config: o.Config, version: o.Version, asker: asker{plainClient(), o.Now}, ask: o.Admin}
	return []check{
		{"gateway", r.checkGateway},
		{"configuration", r.checkLoaded},
		{"listen", r.checkListen},
		{"external-url", r.checkExternalURL},
		{"forward-auth", r.checkForwardAuth},
		{"trusted-proxies", r.checkTrustedProxies},
	}, r.asker.client.CloseIdleConnections
}

// admin is the address of the admin listener on this machine.
func (r *running) admin() string { return "http://" + atHost(r.config.Admin.Listen) }

// readiness is what the gateway says of itself; asked once.
func (r *running) readiness(ctx context.Context) answer {
	return r.ready.get(func() answer { return r.asker.get(ctx, r.admin()+"/readyz?verbose") })
}

// runs says whether a gateway is there that can be asked.
func (r *running) runs(ctx context.Context) bool { return r.readiness(ctx).text("status") != "" }

// checkGateway: it runs and is ready.
func (r *running) checkGateway(ctx context.Context) Finding {
	a := r.readiness(ctx)
	at := r.config.Admin.Listen
	switch state := a.text("status"); {
	case a.status == 0:
		return skipped("no gateway runs at "+at+": "+a.problem, "start it: portero serve")
	case state == "":
		return failed("the gateway at admin.listen", "something else answers at "+at, "change admin.listen, or stop what listens there")
	case a.status == http.StatusServiceUnavailable:
		return failed("a gateway that is ready", "it is not: "+unwell(a), "look at its log; portero doctor looks at what it depends on")
	case state == "degraded":
		return warning("a gateway that is well", "it serves people who are signed in, but: "+unwell(a), "look at its log; portero doctor looks at what it depends on")
	}
	return ok("it is ready")
}

// unwell names the parts that are not well.
func unwell(a answer) string {
	list, _ := a.object["checks"].([]any)
	var names []string
	for _, one := range list {
		c, _ := one.(map[string]any)
		name, _ := c["name"].(string)
		if state, _ := c["state"].(string); state != "ok" && len(name) <= 80 && strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) < 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// checkLoaded: what runs is this version, and has read the file as it is now.
func (r *running) checkLoaded(ctx context.Context) Finding {
	if !r.runs(ctx) {
		return see("gateway")
	}
	version, loaded, err := r.metrics(ctx)
	if err != nil {
		return skipped("the gateway's metrics cannot be read", "look at what answers at admin.listen")
	}
	if version != "" && r.version != "" && version != r.version {
		return warning("one version", fmt.Sprintf("the gateway is %.40q, this command is %.40q", version, r.version), "start the gateway anew")
	}
	if r.config.File == "" || loaded.IsZero() {
		return ok("the gateway is this version")
	}
	info, err := os.Stat(r.config.File)
	if err != nil {
		return failed("the file of the configuration", "it cannot be looked at any more", "look at "+r.config.File)
	}
	if changed := info.ModTime(); changed.After(loaded.Add(time.Second)) {
		return warning("a gateway that has read "+r.config.File, "the file was changed at "+changed.UTC().Format(time.RFC3339)+", and read at "+loaded.UTC().Format(time.RFC3339),
			"have it read the file: kill -HUP, or systemctl reload portero")
	}
	return ok("the gateway is this version, and has read %s as it is", r.config.File)
}

// metrics reads version and time of the last configuration. What is not told is empty.
func (r *running) metrics(ctx context.Context) (version string, loaded time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin()+"/metrics", nil)
	if err != nil {
		return "", time.Time{}, err
	}
	resp, err := r.asker.client.Do(req)
	if err != nil {
		return "", time.Time{}, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(resp.Body, maxAnswer))
	for lines.Scan() {
		line := lines.Text()
		if rest, is := strings.CutPrefix(line, "portero_build_info{"); is {
			for label := range strings.SplitSeq(rest, ",") {
				if value, is := strings.CutPrefix(label, `version="`); is {
					version, _, _ = strings.Cut(value, `"`)
				}
			}
		}
		if rest, is := strings.CutPrefix(line, "portero_config_last_reload_success_timestamp_seconds "); is {
			if seconds, err := strconv.ParseFloat(rest, 64); err == nil {
				loaded = time.UnixMilli(int64(seconds * 1000))
			}
		}
	}
	return version, loaded, lines.Err()
}

// checkExternalURL: people who type external_url reach the gateway.
func (r *running) checkExternalURL(ctx context.Context) Finding {
	return r.external.get(func() Finding { return r.askExternalURL(ctx) })
}

func (r *running) askExternalURL(ctx context.Context) Finding {
	if !r.runs(ctx) {
		return see("gateway")
	}
	at := r.typed()
	switch a := r.asker.get(ctx, at+oursAlone(r.config)); {
	case a.problem != "":
		return warning("the gateway at external_url", at+": "+a.problem, "correct external_url, the name's address, or the proxy in front; seen from this machine, which may be the reason")
	case a.redirect && r.circles(ctx):
		return see("trusted-proxies")
	case !a.ours:
		return failed("the gateway at external_url", fmt.Sprintf("somebody else answers at %s, with %d", at, a.status), "let the proxy in front pass every path of that host to "+r.config.Listen+", or correct external_url")
	}
	return ok("%s reaches it", at)
}

// checkForwardAuth: a proxy that asks about requests keeps the checks to itself.
func (r *running) checkForwardAuth(ctx context.Context) Finding {
	if !slices.ContainsFunc(r.config.Routes, func(one config.Route) bool { return one.ForwardAuthOnly }) {
		return ok("no route has forward_auth_only")
	}
	if !r.runs(ctx) {
		return see("gateway")
	}
	checks := []string{r.config.Endpoints.Prefix + "/auth"}
	if prefix := r.config.Endpoints.AliasPrefix(); prefix != "" {
		checks = append(checks, prefix+"/auth")
	}
	for _, path := range checks {
		switch a := r.asker.get(ctx, r.typed()+path); {
		case a.problem != "":
			return see("external-url")
		case a.ours && a.status != http.StatusForbidden: // that is what the proxy is told that asks about this request too
			return failed("the checks are for the proxy in front alone", fmt.Sprintf("anybody can ask at %s, and the answers hold what is for the application", r.typed()+path),
				fmt.Sprintf("answer %s and all that begins with it with 404 in the proxy in front; docs/forward-auth.md has how (routes[].forward_auth_only)", path))
		}
	}
	return ok("the proxy in front keeps the checks to itself")
}

// typed is external_url without a path.
func (r *running) typed() string {
	return r.config.ExternalURL.Scheme + "://" + r.config.ExternalURL.Host
}
