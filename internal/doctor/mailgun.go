package doctor

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/mail"
)

// mailgunTimeout bounds all that Mailgun is asked, so that there is time left to say that it failed.
const mailgunTimeout = 12 * time.Second

// postOffice is Mailgun as the checks see it: it is asked once.
type postOffice struct {
	config *config.Config
	asked  once[domain]
	other  string // origin of the other region; "": Mailgun's own
}

type domain struct {
	state mail.DomainState
	err   error
}

func (p *postOffice) domain(ctx context.Context) domain {
	return p.asked.get(func() domain {
		m := p.config.Mailgun
		mailer, err := mail.New(mail.Config{Endpoint: m.Endpoint.String(), Other: p.other, Domain: m.Domain, APIKey: m.APIKey.Reveal(), From: m.From})
		if err != nil {
			return domain{err: err}
		}
		ctx, cancel := context.WithTimeout(ctx, mailgunTimeout)
		defer cancel()
		state, err := mailer.Domain(ctx)
		return domain{state, err}
	})
}

// without says why Mailgun is not asked. skip: it is not.
func (p *postOffice) without() (_ Finding, skip bool) {
	if p.config.Mailgun.Domain == "" {
		return skipped("mailgun is not configured", "write mailgun.domain, mailgun.api_key and mailgun.from"), true
	}
	return Finding{}, false
}

// keyName is the key under which the API key is configured.
func (p *postOffice) keyName() string {
	if p.config.Mailgun.APIKeyFile != "" {
		return "mailgun.api_key_file"
	}
	return "mailgun.api_key"
}

// checkDomain: does Mailgun take the key, and does it have the domain?
func (p *postOffice) checkDomain(ctx context.Context) Finding {
	if f, skip := p.without(); skip {
		return f
	}
	m := p.config.Mailgun
	d := p.domain(ctx)
	expected := fmt.Sprintf("Mailgun at %s to take %s for the domain %s", m.Endpoint.Host, p.keyName(), m.Domain)
	if d.err != nil {
		remedy := "write the endpoint of your region into mailgun.endpoint: https://api.mailgun.net or https://api.eu.mailgun.net"
		if errors.Is(d.err, mail.ErrUnavailable) {
			remedy = "let this machine reach " + m.Endpoint.Host + ", and look at https://status.mailgun.com; Logto sends its mails from where it runs"
		}
		return failed(expected, d.err.Error(), remedy)
	}
	region := func(why string) Finding {
		return failed(expected, why+" there, and is at "+d.state.Elsewhere, "write mailgun.endpoint: "+d.state.Elsewhere+" and run portero setup apply, so that Logto's connector has it too")
	}
	switch d.state.State {
	case mail.KeyRefused:
		if d.state.Elsewhere != "" {
			return region("the key is not accepted")
		}
		return failed(expected, "the key is not accepted", "copy a sending key of the domain "+m.Domain+" from Mailgun (Sending, Domain settings, Sending keys) to "+p.keyName()+
			"; if the account allows addresses (Account settings, IP allowlist), this machine's has to be among them")
	case mail.DomainAbsent:
		if d.state.Elsewhere != "" {
			return region("the domain is not known")
		}
		return failed(expected, "the account has no such domain", "write the sending domain as Mailgun's console shows it into mailgun.domain, or add "+m.Domain+" to the account")
	case mail.DomainUnknown:
		return ok("Mailgun takes the key for %s", m.Domain)
	}
	return ok("Mailgun knows %s", m.Domain)
}

// checkDelivery: would mails from the domain arrive?
func (p *postOffice) checkDelivery(ctx context.Context) Finding {
	if f, skip := p.without(); skip {
		return f
	}
	name := p.config.Mailgun.Domain
	d := p.domain(ctx)
	expected := "a domain from which mails arrive at everybody"
	switch {
	case d.err != nil, d.state.State == mail.KeyRefused, d.state.State == mail.DomainAbsent:
		return see(nameMailgunDomain)
	case d.state.State == mail.DomainDisabled:
		return failed(expected, "Mailgun has "+name+" disabled", "look at "+name+" in Mailgun's console, and ask Mailgun's support; nobody gets a code until then")
	case d.state.State == mail.DomainUnverified:
		seen := name + " is not verified"
		if len(d.state.Missing) > 0 {
			seen += ": Mailgun does not find " + records(d.state.Missing)
		}
		return failed(expected, seen, "enter these records at your DNS provider with the values that Mailgun's console shows (Sending, Domain settings, DNS records), and press Verify there")
	case isSandbox(name):
		return warning(expected, name+" is a sandbox domain: Mailgun delivers to its authorized recipients alone", "add a domain of your own at Mailgun and write it into mailgun.domain and mailgun.from")
	case d.state.State == mail.DomainUnknown:
		return skipped("the key may send and not read the domain, as a sending key of Mailgun's", "nothing is wrong; look at the domain's DNS records in Mailgun's console, or run portero setup test-email ADDRESS --direct")
	case len(d.state.Missing) > 0:
		return warning("every DNS record of "+name+" found by Mailgun", "Mailgun does not find "+records(d.state.Missing), "enter these records at your DNS provider with the values that Mailgun's console shows; mails may be taken for spam until then")
	}
	return ok("%s is verified", name)
}

// records names DNS records.
func records(list []mail.DNSRecord) string {
	var names []string
	for _, r := range list {
		if r.Name == "" {
			r.Name = "(see Mailgun's console)"
		}
		names = append(names, r.Type+" "+r.Name)
	}
	return some(names)
}

// isSandbox says whether a domain is one that Mailgun gives away for trying.
func isSandbox(name string) bool {
	return strings.HasPrefix(name, "sandbox") && strings.HasSuffix(name, ".mailgun.org")
}

// checkFrom: is the sender of the domain that sends?
func (p *postOffice) checkFrom(context.Context) Finding {
	if f, skip := p.without(); skip {
		return f
	}
	m := p.config.Mailgun
	address, err := netmail.ParseAddress(m.From)
	if err != nil {
		return failed("a sender in mailgun.from", "no address", fmt.Sprintf("write mailgun.from: no-reply@%s", m.Domain))
	}
	at := address.Address[strings.LastIndexByte(address.Address, '@')+1:]
	switch {
	case strings.EqualFold(at, m.Domain):
		return ok("mailgun.from is of %s", m.Domain)
	case belongTogether(at, m.Domain):
		return ok("mailgun.from is of %s, to which %s belongs", at, m.Domain)
	}
	return warning("a sender of the domain "+m.Domain+" in mailgun.from", "one of "+at+", for which Mailgun does not sign, so that mails are taken for spam or refused",
		fmt.Sprintf("write mailgun.from: no-reply@%s, or %s into mailgun.domain", m.Domain, at))
}

// belongTogether says whether one of two domains is below the other, which is enough where DMARC is not strict (RFC 7489 3.1).
func belongTogether(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	above, below := a, b
	if len(above) > len(below) {
		above, below = below, above
	}
	return strings.Contains(above, ".") && strings.HasSuffix(below, "."+above)
}

// mailgunChecks are the checks of Mailgun.
func mailgunChecks(o Options) []check { return mailgunChecksAt(o, "") }

// mailgunChecksAt is mailgunChecks with another place for the other region.
func mailgunChecksAt(o Options, other string) []check {
	p := &postOffice{config: o.Config, other: other}
	return []check{
		{nameMailgunDomain, p.checkDomain},
		{"mailgun-delivery", p.checkDelivery},
		{"mailgun-from", p.checkFrom},
	}
}
