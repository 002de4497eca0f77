package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// post is Mailgun's side of a mail.
type post struct {
	*httptest.Server
	mu     sync.Mutex
	forms  []url.Values
	status int // 0: taken
}

func newPost(t *testing.T) *post {
	t.Helper()
	p := &post{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *post) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := r.ParseMultipartForm(1 << 20); err != nil || r.URL.Path != "/v3/mg.example.com/messages" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if p.status != 0 {
		w.WriteHeader(p.status)
		fmt.Fprintf(w, `{"message":"%s"}`, r.Form.Get("text"))
		return
	}
	p.forms = append(p.forms, r.Form)
	fmt.Fprint(w, `{"id":"<x@mg.example.com>","message":"Queued. Thank you."}`)
}

func (p *post) mails() []url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forms
}

// door is a gateway that can invite, and configurations that reach it: one that can send mail and one that cannot.
func door(t *testing.T) (rig *gatewaytest.Rig, k *gatewaytest.Tenant, p *post, mailing, silent string) {
	t.Helper()
	k, p = gatewaytest.NewTenant(t, gatewaytest.TenantOptions{}), newPost(t)
	rig = gatewaytest.New(t, &gatewaytest.Options{
		Logto:      &gatewaytest.Logto{Endpoint: k.URL, AppID: "app", AppSecret: "secret-of-the-app"},
		Management: fmt.Sprintf("app_id: %s, app_secret: %s", k.ManagementID, k.ManagementSecret),
	})
	token := ", token: " + gatewaytest.AdminToken
	silent = configAt(t, rig.Gateway.AdminAddr().String(), token)
	mailing = configAt(t, rig.Gateway.AdminAddr().String(), token+"}\n"+
		"mailgun: {endpoint: "+p.URL+`, domain: mg.example.com, api_key: canary-of-the-key, from: "Wiki <no-reply@mg.example.com>"`)
	return rig, k, p, mailing, silent
}

func TestInvite(t *testing.T) {
	t.Parallel()
	rig, _, p, mailing, silent := door(t)
	page := rig.URL + "/handbook?x=1"
	start := rig.URL + "/_portero/invitation?i="
	for name, tt := range map[string]struct {
		file string
		args []string
		link bool // on standard output, and no mail
		errs string
	}{
		"sent":                 {mailing, nil, false, ""},
		"printed":              {mailing, []string{"--print"}, true, "It signs in ann@example.com, once, until 20"},
		"nothing to send with": {silent, nil, true, "No mailgun is configured, so nothing has been sent"},
		"both":                 {silent, []string{"--print"}, true, "and leads to " + page},
		"for an hour":          {mailing, []string{"--print", "--expires", "1h"}, true, time.Now().Add(time.Hour).UTC().Format("2006-01-02 15")},
	} {
		before := len(p.mails())
		code, out, errs := command(t, append([]string{"invite", "Ann@example.com", "--to", page, "--config", tt.file}, tt.args...)...)
		link, whole := strings.CutSuffix(out, "\n")
		alone := whole && strings.HasPrefix(link, start) && !strings.ContainsAny(link, "\n ")
		sent := p.mails()[before:]
		if code != 0 || alone != tt.link || (len(sent) == 1) == tt.link || (tt.errs == "") != (errs == "") || !strings.Contains(errs, tt.errs) {
			t.Errorf("%s: got code %d, %d mails\n%s%s", name, code, len(sent), out, errs)
		}
		if strings.Contains(errs, "invitation?i=") || !tt.link && strings.Contains(out, "invitation?i=") {
			t.Errorf("%s: the link is told where it does not belong\n%s%s", name, out, errs)
		}
		if tt.link {
			continue
		}
		if !strings.HasPrefix(out, "Mailgun has taken the invitation to ann@example.com. Its link works once, until 20") || !strings.Contains(out, page) {
			t.Errorf("%s: got %s", name, out)
		}
		m := sent[0]
		if m.Get("to") != "ann@example.com" || m.Get("from") != "Wiki <no-reply@mg.example.com>" || m.Get("o:tracking") != "no" ||
			m.Get("subject") != "You are invited to Wiki · Tienes una invitación para Wiki" || !strings.Contains(m.Get("text"), "\n"+start) || strings.Count(m.Get("html"), "href=") != 1 {
			t.Errorf("%s: got the mail %v", name, m)
		}
	}
}

func TestInviteRefuses(t *testing.T) {
	t.Parallel()
	rig, k, p, mailing, silent := door(t)
	page := rig.URL + "/"
	for name, tt := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"nobody":        {[]string{"--to", page}, 2, "accepts 1 arg"},
		"two":           {[]string{"a@example.com", "b@example.com", "--to", page}, 2, "accepts 1 arg"},
		"nowhere":       {[]string{"a@example.com"}, 2, "say where the link leads: --to URL"},
		"elsewhere":     {[]string{"a@example.com", "--to", "https://evil.example/"}, 2, "--to does not begin with http://"},
		"another host":  {[]string{"a@example.com", "--to", "http://evil.example/"}, 2, "--to is on no host of this gateway"},
		"no address":    {[]string{"ann", "--to", page}, 2, "ADDRESS is no address"},
		"a header":      {[]string{"ann@example.com\r\nBcc: eve@evil.example", "--to", page}, 2, "ADDRESS is no address"},
		"for ever":      {[]string{"a@example.com", "--to", page, "--expires", "365d"}, 2, "--expires is not between 1m and 30d"},
		"no unit":       {[]string{"a@example.com", "--to", page, "--expires", "7"}, 2, "--expires is no duration"},
		"unknown flag":  {[]string{"a@example.com", "--to", page, "--bogus"}, 2, "unknown flag"},
		"our endpoints": {[]string{"a@example.com", "--to", page + "sign-out"}, 2, "--to is an endpoint of Portero itself"},
	} {
		code, out, errs := command(t, append([]string{"invite", "--config", mailing}, tt.args...)...)
		if code != tt.code || out != "" || !strings.Contains(errs, tt.errs) || !strings.Contains(errs, "hint: portero invite --help") {
			t.Errorf("%s: got code %d\n%s%s", name, code, out, errs)
		}
	}
	if len(p.mails()) != 0 || len(k.Requests()) != 0 {
		t.Errorf("mails: %v; Logto was asked for %v", p.mails(), k.Requests())
	}

	// Mailgun does not take it: the person has no link, and the operator reads what to do.
	p.mu.Lock()
	p.status = http.StatusUnauthorized
	p.mu.Unlock()
	code, out, errs := command(t, "invite", "a@example.com", "--to", page, "--config", mailing)
	if code != 1 || out != "" || !strings.Contains(errs, "nobody has been invited: ") || !strings.Contains(errs, "check mailgun.api_key") || !strings.Contains(errs, "hint: add --print") ||
		strings.Contains(errs, "invitation?i=") || strings.Contains(errs, "canary") {
		t.Errorf("Mailgun refuses: got code %d\n%s%s", code, out, errs)
	}

	// Logto, the gateway, its configuration.
	k.Hook(func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	if code, out, errs := command(t, "invite", "a@example.com", "--to", page, "--config", silent); code != 1 || out != "" || !strings.Contains(errs, "Logto does not answer") {
		t.Errorf("Logto is away: got code %d\n%s%s", code, out, errs)
	}
	bare := gatewaytest.New(t, nil)
	file := configAt(t, bare.Gateway.AdminAddr().String(), ", token: "+gatewaytest.AdminToken)
	if code, out, errs := command(t, "invite", "a@example.com", "--to", bare.URL+"/", "--config", file); code != 1 || out != "" || !strings.Contains(errs, "logto.management is not configured") {
		t.Errorf("no management: got code %d\n%s%s", code, out, errs)
	}
	bare.Stop(t)
	if code, out, errs := command(t, "invite", "a@example.com", "--to", bare.URL+"/", "--config", file); code != 1 || out != "" || !strings.Contains(errs, "no gateway answers") {
		t.Errorf("no gateway: got code %d\n%s%s", code, out, errs)
	}
}
