// Package demo runs everything on loopback with no account anywhere: a gateway, an OpenID provider with Logto's
// shapes, a mailbox that takes the mails, and a sample application.
//
// It owns the ports and the wiring. Nothing of it is for production: it listens on loopback alone, keeps nothing on
// disk, makes new keys at each start and says on every page that it is a demonstration.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	netmail "net/mail"
	"strings"
	"sync"
	"time"
	"unicode"

	"portero/internal/config"
	"portero/internal/demo/mailbox"
	"portero/internal/demo/provider"
	"portero/internal/demo/sampleapp"
	"portero/internal/demo/tenant"
	"portero/internal/gateway"
	"portero/internal/mail"
	"portero/internal/serve"
)

// DefaultPortBase is the gateway's port; provider, mailbox and sample application follow, the admin listener has
// ten more.
const DefaultPortBase = 3000

const mailDomain = "demo.example"

// Config says what a demonstration looks like. The zero value is the plain one.
type Config struct {
	PortBase             int  // 0: DefaultPortBase; negative: free ports, for tests
	ParallelInteractions bool // the provider keeps every interaction of a browser, not the last one alone

	// From is a configuration of which `mailgun` and `pages` are taken, and nothing else. nil: neither; the mails go
	// to the mailbox.
	From *config.Config
	// Extra is more configuration (YAML), for tests. It follows the demonstration's own, whose last part is the list of
	// routes; APPLICATION stands for the sample application's URL.
	Extra string

	Log *slog.Logger // nil: none
	Now func() time.Time
}

// Addresses are where the parts are; URLs without a trailing slash. This is what `--json` prints.
type Addresses struct {
	Gateway     string `json:"gateway"`
	Provider    string `json:"provider"`
	Mailbox     string `json:"mailbox"`
	Application string `json:"application"`
	Admin       string `json:"admin"`
	AdminToken  string `json:"admin_token"`
	Logto       Logto  `json:"logto"`
	// Mailgun is the mailbox as an account at Mailgun.
	Mailgun Mailgun `json:"mailgun"`
}

// Mailgun is how another gateway's mails get into the mailbox. The endpoint ends as Logto's connector wants it; its path is
// used by nobody.
type Mailgun struct {
	Endpoint string `json:"endpoint"`
	Domain   string `json:"domain"`
	APIKey   string `json:"api_key"`
	From     string `json:"from"`
}

// Logto is how another gateway reaches the provider.
type Logto struct {
	Endpoint   string     `json:"endpoint"`
	AppID      string     `json:"app_id"`
	AppSecret  string     `json:"app_secret"`
	Management Management `json:"management"`
}

// Management is the provider's machine-to-machine client.
type Management struct {
	AppID     string `json:"app_id"`
	AppSecret string `json:"app_secret"`
}

// Demo is one demonstration. Start begins it; Run waits.
type Demo struct {
	Addresses
	Gateway  *gateway.Gateway
	Provider *provider.Provider
	Mailbox  *mailbox.Mailbox

	servers []*serve.Server
}

// PortError is returned by Start when a port of the demonstration is taken.
type PortError struct {
	Base int
	Err  error // names the port and, where it can be seen, its owner
}

func (e *PortError) Error() string { return e.Err.Error() }

func (e *PortError) Unwrap() error { return e.Err }

// Hint is what to type.
func (e *PortError) Hint() string {
	return fmt.Sprintf("use other ports: portero demo --port-base %d", e.Base+1000)
}

// parts are the listeners, in the order of the ports.
type parts struct{ gateway, provider, mailbox, application, admin net.Listener }

func (p *parts) all() []net.Listener {
	return []net.Listener{p.gateway, p.provider, p.mailbox, p.application, p.admin}
}

// listen binds every port, or none.
func listen(base int) (*parts, error) {
	p := &parts{}
	for _, one := range []struct {
		what   string
		offset int
		to     *net.Listener
	}{
		{"gateway", 0, &p.gateway}, {"provider", 1, &p.provider}, {"mailbox", 2, &p.mailbox},
		{"sample application", 3, &p.application}, {"admin listener", 10, &p.admin},
	} {
		port := 0
		if base > 0 {
			port = base + one.offset
		}
		l, err := serve.Bind(one.what, fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			for _, bound := range p.all() {
				if bound != nil {
					bound.Close()
				}
			}
			return nil, &PortError{Base: base, Err: err}
		}
		*one.to = l
	}
	return p, nil
}

func urlOf(host string, l net.Listener) string {
	return fmt.Sprintf("http://%s:%d", host, l.Addr().(*net.TCPAddr).Port)
}

func secret() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Start binds the ports and wires the parts. Run serves.
func Start(c Config) (*Demo, error) {
	if c.PortBase == 0 {
		c.PortBase = DefaultPortBase
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p, err := listen(c.PortBase)
	if err != nil {
		return nil, err
	}
	d := &Demo{Addresses: Addresses{
		Gateway: urlOf("localhost", p.gateway), Provider: urlOf("127.0.0.1", p.provider), Mailbox: urlOf("127.0.0.1", p.mailbox),
		Application: urlOf("127.0.0.1", p.application), Admin: urlOf("127.0.0.1", p.admin), AdminToken: secret(),
		Logto:   Logto{Endpoint: urlOf("127.0.0.1", p.provider), AppID: "demo-app", AppSecret: secret(), Management: Management{AppID: "demo-m2m", AppSecret: secret()}},
		Mailgun: Mailgun{Endpoint: urlOf("127.0.0.1", p.mailbox) + "/demo.mailgun.net", Domain: mailDomain, APIKey: secret(), From: "Portero <no-reply@" + mailDomain + ">"},
	}}
	if err := d.wire(c, p); err != nil {
		for _, l := range p.all() {
			l.Close()
		}
		return nil, err
	}
	return d, nil
}

func (d *Demo) wire(c Config, p *parts) error {
	d.Mailbox = mailbox.New(mailbox.Config{Domain: d.Mailgun.Domain, APIKey: d.Mailgun.APIKey, Now: c.Now})
	k, err := d.tenant(c)
	if err != nil {
		return err
	}
	d.Provider, err = provider.New(provider.Config{
		URL: d.Addresses.Provider, Tenant: k, ManagementID: d.Logto.Management.AppID, ManagementSecret: d.Logto.Management.AppSecret,
		MailboxURL: d.Addresses.Mailbox, StartURL: d.Addresses.Gateway,
		ParallelInteractions: c.ParallelInteractions, Now: c.Now, Log: c.Log,
	})
	if err != nil {
		return fmt.Errorf("starting the provider: %w", err)
	}
	cfg, err := d.configuration(c)
	if err != nil {
		return err
	}
	d.Gateway, err = gateway.New(cfg, gateway.Options{
		Log: c.Log, Demo: true, Now: c.Now, Public: p.gateway, Admin: p.admin, AdminToken: d.AdminToken,
	})
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	if err := d.Gateway.Listen(); err != nil {
		return err
	}
	app := sampleapp.New(sampleapp.Config{})
	for _, one := range []struct {
		name     string
		listener net.Listener
		handler  http.Handler
	}{{"provider", p.provider, d.Provider.Handler()}, {"mailbox", p.mailbox, d.Mailbox.Handler()}, {"application", p.application, app.Handler()}} {
		s, err := serve.Listen(serve.Config{Name: one.name, Listener: one.listener, Handler: one.handler, Log: c.Log})
		if err != nil {
			return err
		}
		d.servers = append(d.servers, s)
	}
	return nil
}

// tenant is set up as `portero setup apply` would: the demonstration's own application, and sign-in by e-mail for everybody.
func (d *Demo) tenant(c Config) (*tenant.Tenant, error) {
	name := "Portero"
	account := mail.Config{Endpoint: d.Mailgun.Endpoint, Domain: d.Mailgun.Domain, APIKey: d.Mailgun.APIKey, From: d.Mailgun.From}
	own := true
	var list []mail.Delivery
	if from := c.From; from != nil {
		if from.Pages.Name != "" {
			name = from.Pages.Name
		}
		if m := from.Mailgun; m.Domain != "" {
			own = false
			account = mail.Config{Endpoint: m.Endpoint.String(), Domain: m.Domain, APIKey: m.APIKey.Reveal(), From: m.From}
			for _, one := range m.Deliveries {
				entry := mail.Delivery{Usage: one.Usage, Subject: one.Subject, ReplyTo: one.ReplyTo, HTML: one.HTML, Text: one.Text, Template: one.Template}
				for _, v := range one.Variables {
					entry.Variables = append(entry.Variables, mail.Variable{Name: v.Name, Value: v.Value})
				}
				list = append(list, entry)
			}
		}
	}
	if _, err := mail.New(account); err != nil {
		return nil, fmt.Errorf("mailgun: %w", err)
	}
	deliveries, err := mail.NewDeliveries(name, list)
	if err != nil {
		return nil, fmt.Errorf("mailgun.deliveries: %w", err)
	}
	k := tenant.New(tenant.Config{Now: c.Now, Send: func(ctx context.Context, m tenant.Mail) error { return send(ctx, account, own, m) }})
	k.Add(tenant.Application{
		ID: d.Logto.AppID, Name: "Portero demo", Type: "Traditional",
		RedirectURIs:           []string{d.Addresses.Gateway + "/callback"},
		PostLogoutRedirectURIs: []string{d.Addresses.Gateway + "/_portero/signed-out"},
		BackchannelLogoutURI:   d.Addresses.Gateway + "/_portero/backchannel-logout", SessionRequired: true,
	}, d.Logto.AppSecret)
	// The key that is stored is none: everybody who may use the Management API reads it.
	if err := k.SetConnector(connector(account, deliveries, list)); err != nil {
		return nil, fmt.Errorf("setting up the tenant's connector: %w", err)
	}
	k.SignInByEmail(d.Addresses.Gateway + "/_portero/continue")
	return k, nil
}

// connector is the configuration of the tenant's e-mail connector, with a key that opens nothing: the deliveries that are configured, and a
// Generic one for the rest.
func connector(account mail.Config, deliveries *mail.Deliveries, configured []mail.Delivery) map[string]any {
	all := map[string]any{}
	usages := []string{mail.Generic}
	for _, one := range configured {
		usages = append(usages, one.Usage)
	}
	for _, usage := range usages {
		m := deliveries.Message(usage, "", "{{code}}") // Logto fills in the code alone
		one := map[string]any{"subject": m.Subject}
		if m.ReplyTo != "" {
			one["replyTo"] = m.ReplyTo
		}
		if m.Template != "" {
			variables := map[string]any{}
			for name, value := range m.Variables {
				if name != "code" {
					variables[name] = value
				}
			}
			one["template"], one["variables"] = m.Template, variables
		} else {
			one["html"], one["text"] = m.HTML, m.Text
		}
		all[usage] = one
	}
	return map[string]any{"domain": account.Domain, "apiKey": "demo", "from": account.From, "deliveries": all}
}

// send delivers what the connector sends over the real Mailgun client: to the mailbox, or to the account that was named, whatever the
// connector says of its own. In the mailbox its sender and its address for answers are to be seen, as far as they are addresses: Mailgun would
// refuse others, and the code has to arrive here.
func send(ctx context.Context, account mail.Config, own bool, m tenant.Mail) error {
	sender, subject, reply := account, m.Get("subject"), m.Get("h:Reply-To")
	if own {
		sender.From, subject, reply = m.Get("from"), printable(subject), printable(reply)
		if _, err := netmail.ParseAddress(reply); err != nil {
			reply = ""
		}
	}
	mailer, err := mail.New(sender)
	if err != nil && own {
		mailer, err = mail.New(account)
	}
	if err != nil {
		return err
	}
	msg := mail.Message{
		To: m.To, Subject: subject, Text: m.Get("text"), HTML: m.Get("html"), ReplyTo: reply, Template: m.Get("template"),
	}
	if raw := m.Get("h:X-Mailgun-Variables"); raw != "" {
		var variables map[string]any
		if err := json.Unmarshal([]byte(raw), &variables); err != nil {
			return fmt.Errorf("reading the variables of a template: %w", err)
		}
		msg.Variables = map[string]string{}
		for name, value := range variables {
			msg.Variables[name] = plain(value)
		}
	}
	err = mailer.Send(ctx, msg)
	if refused := (*mail.Error)(nil); errors.As(err, &refused) && refused.Status != 0 {
		return &tenant.MailError{Status: refused.Status, Body: refused.Cause}
	}
	return err
}

// printable has a blank in place of each character that no line of a mail's head can have.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
}

// plain is a variable of a template as text: what is none is JSON.
func plain(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON before
	}
	return string(raw)
}

// configuration is the gateway's, written as an operator would write it.
func (d *Demo) configuration(c Config) (*config.Config, error) {
	text := fmt.Sprintf(`
listen: 127.0.0.1:0
external_url: %s
admin: {listen: "127.0.0.1:0"}
logto: {endpoint: "%s", app_id: %s, app_secret: %s, management: {app_id: %s, app_secret: %s}}
session: {store: memory}
shutdown: {timeout: 1s}
allow: [{email_domains: ["*"]}]
log: {access: false}
routes:
  - {name: public, title: Sample application, path: /public, access: public, upstreams: [{url: "%[7]s"}]}
  - {name: admin, title: Sample application, path: /admin, allow: [{roles: [admin]}], upstreams: [{url: "%[7]s"}]}
  - {name: sample, title: Sample application, path: /, upstreams: [{url: "%[7]s"}]}
%s`, d.Addresses.Gateway, d.Addresses.Provider, d.Logto.AppID, d.Logto.AppSecret, d.Logto.Management.AppID, d.Logto.Management.AppSecret,
		d.Addresses.Application, strings.ReplaceAll(c.Extra, "APPLICATION", d.Addresses.Application))
	cfg, err := config.Load(config.Options{Path: "demo.yaml", Text: []byte(strings.TrimLeft(text, "\n"))})
	if err != nil {
		return nil, fmt.Errorf("the demonstration's own configuration: %w", err)
	}
	if c.From != nil {
		cfg.Pages = c.From.Pages
	}
	return cfg, nil
}

// Run serves until ctx ends, and ends within a second.
func (d *Demo) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	errs := make(chan error, len(d.servers)+1)
	for _, s := range d.servers {
		wait.Go(func() {
			if err := s.Serve(); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	wait.Go(func() {
		if err := d.Gateway.Run(ctx); err != nil {
			errs <- err
			cancel()
		}
	})
	<-ctx.Done()
	for _, s := range d.servers {
		s.Close()
	}
	wait.Wait()
	d.Provider.Close()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}
