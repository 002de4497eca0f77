package session

import (
	"net/http"
	"time"

	"github.com/alexedwards/scs/v2"
)

// What tests of the scs adapter need.
var (
	ErrContext = errContext
	WellFormed = wellFormed
)

func (m *Manager) Adapter() scs.CtxStore { return adapter{m} }

func (m *Manager) Token(r *http.Request) (string, Reason) { return m.token(r) }

func EncodeRecord(subject string, expires time.Time) ([]byte, error) {
	rec := &record{Format: recordFormat, Subject: subject, ExpiresAt: micros(expires)}
	return codec{}.Encode(time.Time{}, map[string]any{recordValue: rec})
}

func EncodeNothing() error {
	_, err := codec{}.Encode(time.Time{}, map[string]any{"other": 1})
	return err
}

func DecodeRecord(plain []byte) (deadline time.Time, subject string, err error) {
	deadline, values, err := codec{}.Decode(plain)
	if rec, _ := values[recordValue].(*record); rec != nil {
		subject = rec.Subject
	}
	return deadline, subject, err
}

// Decoded is how many sessions are kept decoded.
func (m *Manager) Decoded() int {
	m.cache.mu.RLock()
	defer m.cache.mu.RUnlock()
	return len(m.cache.slots)
}

func (r *Revocations) Current() bool { return r.isCurrent() }
