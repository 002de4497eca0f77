package management

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Session is one browser in which a person is signed in at Logto.
type Session struct {
	UID       string
	LoginAt   time.Time         // when the person signed in there; zero: not told
	ExpiresAt time.Time         // zero: not told
	SIDs      map[string]string // :: client id → the sid that this client's ID tokens have
}

// Sessions lists the sessions of a person at Logto. A person whom Logto does not know has none.
func (m *Client) Sessions(ctx context.Context, userID string) ([]Session, error) {
	address, err := m.path("sessions", nil, "users", userID, "sessions")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Sessions *[]struct {
			Payload struct {
				UID            string  `json:"uid"`
				Expires        float64 `json:"exp"`     // seconds
				LoginAt        float64 `json:"loginTs"` // seconds
				Authorizations map[string]struct {
					SID string `json:"sid"`
				} `json:"authorizations"`
			} `json:"payload"`
		} `json:"sessions"`
	}
	if _, err := m.call(ctx, "sessions", http.MethodGet, address, nil, &answer); err != nil {
		return nil, err
	}
	if answer.Sessions == nil {
		return nil, &RefusedError{Call: "sessions", Status: http.StatusOK, cause: errMalformed}
	}
	found := make([]Session, 0, len(*answer.Sessions))
	for _, one := range *answer.Sessions {
		if checkID(one.Payload.UID) != nil {
			continue // nothing can be done with it
		}
		s := Session{UID: one.Payload.UID, LoginAt: seconds(one.Payload.LoginAt), ExpiresAt: seconds(one.Payload.Expires), SIDs: map[string]string{}}
		for client, authorization := range one.Payload.Authorizations {
			if authorization.SID != "" {
				s.SIDs[client] = authorization.SID
			}
		}
		found = append(found, s)
	}
	return found, nil
}

// seconds is a time that the API tells as seconds since 1970; what cannot be one is not told.
func seconds(n float64) time.Time {
	if !(n > 0 && n < 1<<40) {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// EndSession ends a session at Logto with everything that was granted in it, so that its refresh tokens die too. Logto
// tells no client about it. A session that is gone already is no error.
func (m *Client) EndSession(ctx context.Context, userID, uid string) error {
	const name = "end session"
	address, err := m.path(name, url.Values{"revokeGrantsTarget": {"all"}}, "users", userID, "sessions", uid)
	if err != nil {
		return err
	}
	if _, err = m.call(ctx, name, http.MethodDelete, address, nil, nil); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// EndBySIDs ends every session at Logto in which a client's ID tokens have one of these sids, and says how many that
// were. It lists the person's sessions once. One that cannot be ended does not keep the others.
func (m *Client) EndBySIDs(ctx context.Context, userID, clientID string, sids ...string) (ended int, err error) {
	sids = slices.DeleteFunc(slices.Clone(sids), func(sid string) bool { return sid == "" })
	if len(sids) == 0 {
		return 0, nil
	}
	sessions, err := m.Sessions(ctx, userID)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, s := range sessions {
		if sid := s.SIDs[clientID]; sid == "" || !slices.Contains(sids, sid) {
			continue
		}
		if err := m.EndSession(ctx, userID, s.UID); err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
			continue
		}
		ended++
	}
	return ended, errors.Join(errs...)
}
