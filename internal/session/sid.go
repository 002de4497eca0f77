package session

import "context"

// WithSID lists the live sessions of one session at the provider, in no particular
// order. It rests on listing, as LiveWithSID does.
func (m *Manager) WithSID(ctx context.Context, sid string) ([]*Session, error) {
	if sid == "" {
		return nil, nil
	}
	var all []*Session
	err := m.rows(ctx, Filter{SID: m.hash("sid", sid)}, func(row Row) error {
		s, err := m.live(ctx, row)
		if s != nil && s.SID == sid {
			all = append(all, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
