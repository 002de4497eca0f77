package setup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	netmail "net/mail"
	"slices"
	"strings"

	"portero/internal/config"
	"portero/internal/mail"
	"portero/internal/management"
)

// TestCode stands in a test mail where the code does. It signs nobody in.
const TestCode = "000000"

// TestEmail is one mail to one address, as it would bring a code.
type TestEmail struct {
	To    string
	Usage string // one of mail.Usages
}

// ErrTestEmail is in the chain of an error about the address or the usage: it was asked for something that cannot be.
var ErrTestEmail = errors.New("no test mail")

// NewMailer makes what sends mails as a configuration says. client nil: one of its own.
func NewMailer(c *config.Config, client *http.Client) (*mail.Mailer, error) {
	m := c.Mailgun
	if m.Domain == "" {
		return nil, errors.New("no account at Mailgun is configured; write mailgun.domain, mailgun.api_key and mailgun.from")
	}
	cfg := mail.Config{Domain: m.Domain, APIKey: m.APIKey.Reveal(), From: m.From, Client: client}
	if m.Endpoint != nil {
		cfg.Endpoint = m.Endpoint.String()
	}
	return mail.New(cfg)
}

// newDeliveries are the mails of a configuration, by which Logto's are made.
func newDeliveries(c *config.Config) (*mail.Deliveries, error) {
	var list []mail.Delivery
	for _, d := range c.Mailgun.Deliveries {
		one := mail.Delivery{Usage: d.Usage, Subject: d.Subject, ReplyTo: d.ReplyTo, HTML: d.HTML, Text: d.Text, Template: d.Template}
		for _, v := range d.Variables {
			one.Variables = append(one.Variables, mail.Variable{Name: v.Name, Value: v.Value})
		}
		list = append(list, one)
	}
	name := c.Pages.Name
	if name == "" && c.ExternalURL != nil {
		name = c.ExternalURL.Hostname()
	}
	deliveries, err := mail.NewDeliveries(name, list)
	if err != nil {
		return nil, fmt.Errorf("mailgun.%w", err)
	}
	return deliveries, nil
}

// delivery is the one that the mail is made of: of its usage, or Generic.
func (t TestEmail) delivery(c *config.Config) (mail.Delivery, error) {
	if address, err := netmail.ParseAddress(t.To); err != nil || address.Address != t.To {
		return mail.Delivery{}, fmt.Errorf("%w: %q is not one address; write one like who@example.com", ErrTestEmail, t.To)
	}
	if !slices.Contains(mail.Usages(), t.Usage) {
		return mail.Delivery{}, fmt.Errorf("%w: the usage %q is unknown; write %s", ErrTestEmail, t.Usage, strings.Join(mail.Usages(), ", "))
	}
	deliveries, err := newDeliveries(c)
	if err != nil {
		return mail.Delivery{}, err
	}
	d, err := deliveries.Configured(t.Usage)
	if errors.Is(err, mail.ErrNoDelivery) {
		return d, &hintedError{fmt.Errorf("%w; portero setup apply gives Logto the short default mail for it, which cannot be tried here", err),
			fmt.Sprintf("add an entry with usage: %s, or one with usage: Generic for all that have none, to mailgun.deliveries", t.Usage)}
	}
	return d, err
}

// Direct sends the mail at Mailgun, without Logto, and returns the usage whose delivery it was made of. client nil: one of
// its own.
func (t TestEmail) Direct(ctx context.Context, c *config.Config, client *http.Client) (usage string, err error) {
	mailer, err := NewMailer(c, client)
	if err != nil {
		return "", err
	}
	d, err := t.delivery(c)
	if err != nil {
		return "", err
	}
	return d.Usage, mailer.Send(ctx, d.Message(t.To, TestCode))
}

// ThroughLogto has Logto's Mailgun connector send the mail, and returns the usage whose delivery it was made of. The
// connector test knows the delivery Generic alone, so what is sent has the delivery of the usage in that place; the connector
// that is set up is neither used nor changed.
func (t TestEmail) ThroughLogto(ctx context.Context, m *management.Client, c *config.Config) (usage string, err error) {
	email := newEmail(c)
	if email == nil {
		return "", errors.New("no account at Mailgun is configured; write mailgun.domain, mailgun.api_key and mailgun.from")
	}
	d, err := t.delivery(c)
	if err != nil {
		return "", err
	}
	if own := email.Deliveries[d.Usage]; own != nil {
		email.Deliveries[mail.Generic] = own
	}
	return d.Usage, explainTest(m.TestConnector(ctx, management.MailgunConnector, t.To, email.Config()))
}

// explainTest says where else to look when Mailgun did not take what Logto sent. The rest the error says itself.
func explainTest(err error) error {
	var refused *management.RefusedError
	if !errors.As(err, &refused) || refused.Code != "connector.general" {
		return err
	}
	return &hintedError{fmt.Errorf("the mail was not sent: %w", err),
		refused.Hint() + "; portero doctor asks Mailgun itself what it is, and portero setup test-email ADDRESS --direct leaves Logto out"}
}
