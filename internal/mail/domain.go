package mail

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/mailgun/mailgun-go/v5"
)

// How a domain stands at Mailgun.
const (
	DomainActive     = "active"
	DomainUnverified = "unverified" // DNS records are missing
	DomainDisabled   = "disabled"   // by Mailgun or its owner: nothing is sent
	DomainUnknown    = "unknown"    // the key may send, and not read domains, as a sending key: nothing is wrong
	DomainAbsent     = "absent"     // the account has no such domain
	KeyRefused       = "refused"    // the key is not accepted
)

// DomainState is how the sending domain stands.
type DomainState struct {
	State string // one of the words above
	// Missing are the DNS records for sending that Mailgun does not find, or finds with another value.
	Missing []DNSRecord
	// Elsewhere is the origin of the other region, if the domain is there, or the key is accepted there alone: what
	// mailgun.endpoint has to be. Empty: it is not, or that could not be asked.
	Elsewhere string
}

// DNSRecord is a record that a domain needs for sending.
type DNSRecord struct {
	Type  string // TXT, CNAME, …
	Name  string // of the record; empty: Mailgun did not say, or it is no name
	Valid string // invalid or unknown
}

// Domain says how the sending domain stands. It sends nothing. Errors are ErrUnavailable, or ErrRefused where something else
// than Mailgun answered.
func (m *Mailer) Domain(ctx context.Context) (DomainState, error) {
	state, err := m.domainAt(ctx, m.client, m.host)
	if err != nil || m.other == nil || state.State != DomainAbsent && state.State != KeyRefused {
		return state, err
	}
	host := m.other.APIBase()
	switch there, err := m.domainAt(ctx, m.other, host[strings.Index(host, "://")+3:]); {
	case err != nil, there.State == KeyRefused: // what was seen here is true all the same
	case there.State == DomainAbsent && state.State == DomainAbsent:
	default:
		state.Elsewhere = host
	}
	return state, nil
}

func (m *Mailer) domainAt(ctx context.Context, client *mailgun.Client, host string) (DomainState, error) {
	answer, err := client.GetDomain(ctx, m.domain, nil)
	switch status := statusOf(err); {
	case err == nil:
		state := DomainState{State: answer.Domain.State}
		for _, r := range answer.SendingDNSRecords {
			if r.Valid != "valid" {
				state.Missing = append(state.Missing, DNSRecord{Type: r.RecordType, Name: r.Name, Valid: r.Valid})
			}
		}
		return state, nil
	case status == http.StatusNotFound:
		return DomainState{State: DomainAbsent}, nil
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return DomainState{}, m.explain(ctx, asking, host, err)
	}
	// A key that sends and does no more is refused like a wrong one. A message without a recipient tells them apart: it is
	// refused as a message, with 400, once the key is accepted.
	_, err = client.Send(ctx, blank{mailgun.NewMessage(m.domain, "", "", "")})
	switch status := statusOf(err); {
	case err == nil || status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		return DomainState{State: DomainUnknown}, nil
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return DomainState{State: KeyRefused}, nil
	case status == http.StatusNotFound:
		return DomainState{State: DomainAbsent}, nil
	}
	return DomainState{}, m.explain(ctx, asking, host, err)
}

func statusOf(err error) int {
	var answer *mailgun.UnexpectedResponseError
	if errors.As(err, &answer) {
		return answer.Actual
	}
	return 0
}

// blank is a message with nothing in it, for nobody.
type blank struct{ *mailgun.PlainMessage }

// IsValid and RecipientCount let the library send what it takes for no message; To is empty.
func (blank) IsValid() bool       { return true }
func (blank) RecipientCount() int { return 1 }

// AddValues writes no field but the one that has Mailgun throw the message away.
func (blank) AddValues(p *mailgun.FormDataPayload) {}

// TestMode has Mailgun throw the message away if it took it.
func (blank) TestMode() bool { return true }

// knownOfDomain reduces an answer about a domain to words from lists and to domain names. False: it is no such answer.
func knownOfDomain(text []byte) (string, bool) {
	type record struct {
		Type  string `json:"record_type"`
		Name  string `json:"name"`
		Valid string `json:"valid"`
	}
	var answer struct {
		Domain *struct {
			State    string `json:"state"`
			Disabled bool   `json:"is_disabled"`
		} `json:"domain"`
		Sending []record `json:"sending_dns_records"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Domain == nil {
		return "", false
	}
	state := answer.Domain.State
	switch {
	case answer.Domain.Disabled, state == "inactive", state == DomainDisabled:
		state = DomainDisabled
	case state != DomainActive && state != DomainUnverified:
		state = DomainUnknown
	}
	records := []record{}
	for _, r := range answer.Sending {
		if r.Type = strings.ToUpper(r.Type); !slices.Contains([]string{"TXT", "CNAME", "MX", "A", "AAAA"}, r.Type) {
			r.Type = "DNS"
		}
		if !validDomain(r.Name) {
			r.Name = ""
		}
		if r.Valid != "valid" && r.Valid != "invalid" {
			r.Valid = "unknown"
		}
		records = append(records, r)
	}
	out, err := json.Marshal(map[string]any{"domain": map[string]any{"state": state}, "sending_dns_records": records})
	return string(out), err == nil
}
