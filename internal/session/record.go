package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unique"

	"portero/internal/identity"
)

const (
	purpose      = "session" // of the sealed body
	recordFormat = 1
	maxBody      = 512 << 10 // far above any real record; bounds what a hostile store can make us do
	idLength     = 12
)

// record is the plaintext of a body. Claims are not kept: they are read from the
// ID token, which is needed anyway (id_token_hint).
type record struct {
	Format           int             `json:"v"`
	Subject          string          `json:"sub"`
	SID              string          `json:"sid,omitempty"`
	Host             string          `json:"host,omitempty"`
	UserAgent        string          `json:"ua,omitempty"`
	IDToken          string          `json:"id_token,omitempty"`
	AccessToken      string          `json:"access_token,omitempty"`
	RefreshToken     string          `json:"refresh_token,omitempty"`
	AccessExpires    int64           `json:"access_expires,omitempty"`
	AccessLife       int64           `json:"access_life,omitempty"`
	Tokens           []tokenRecord   `json:"tokens,omitempty"`
	Claims           identity.Claims `json:"claims,omitempty"` // only of a session without an ID token
	Userinfo         json.RawMessage `json:"userinfo,omitempty"`
	AuthTime         int64           `json:"auth_time,omitempty"`
	CreatedAt        int64           `json:"created"`
	LastUsed         int64           `json:"used"` // when the body was sealed; the row's is the newer one
	ExpiresAt        int64           `json:"expires"`
	UnreachableSince int64           `json:"unreachable,omitempty"`
	RetryAt          int64           `json:"retry,omitempty"`
	Idled            bool            `json:"idled,omitempty"`
}

// instant and micros convert between times and what is kept: microseconds since
// 1970, zero for the zero time.
func instant(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// recordOf is the record of s.
func recordOf(s *Session, idled bool) *record {
	rec := &record{
		Format: recordFormat, Subject: s.Subject, SID: s.SID, Host: s.Host, UserAgent: s.UserAgent,
		IDToken: s.IDToken, AccessToken: s.AccessToken, RefreshToken: s.RefreshToken,
		AccessExpires: micros(s.AccessExpires), AccessLife: int64(s.AccessLife), Userinfo: s.Userinfo, Tokens: tokenRecords(s.Tokens),
		AuthTime: micros(s.AuthTime), CreatedAt: micros(s.CreatedAt), LastUsed: micros(s.LastUsed),
		ExpiresAt: micros(s.ExpiresAt), UnreachableSince: micros(s.UnreachableSince), RetryAt: micros(s.RetryAt),
		Idled: idled,
	}
	if s.IDToken == "" {
		rec.Claims = s.Identity.Claims.All()
	}
	return rec
}

// session is the snapshot of rec under key and version. Its identity is read anew.
func (m *Manager) session(rec *record, key string, version uint64) (*Session, error) {
	s := &Session{
		Key: key, ID: publicID(key), Version: version,
		Subject: rec.Subject, SID: rec.SID, Host: rec.Host, UserAgent: rec.UserAgent,
		IDToken: rec.IDToken, AccessToken: rec.AccessToken, RefreshToken: rec.RefreshToken,
		AccessExpires: instant(rec.AccessExpires), AccessLife: time.Duration(rec.AccessLife), Userinfo: rec.Userinfo, Tokens: tokensOf(rec.Tokens),
		AuthTime: instant(rec.AuthTime), CreatedAt: instant(rec.CreatedAt), LastUsed: instant(rec.LastUsed),
		ExpiresAt: instant(rec.ExpiresAt), UnreachableSince: instant(rec.UnreachableSince), RetryAt: instant(rec.RetryAt),
	}
	claims := rec.Claims
	if rec.IDToken != "" {
		var err error
		if claims, err = tokenClaims(rec.IDToken); err != nil {
			return nil, err
		}
	}
	if len(rec.Userinfo) > 0 {
		var err error
		if claims, err = withUserinfo(claims, rec.Userinfo); err != nil {
			return nil, err
		}
	}
	id, err := identity.New(claims, m.identity)
	if err != nil {
		return nil, err
	}
	if id.Subject != rec.Subject {
		return nil, errors.New("subject of the claims is not the session's")
	}
	s.Identity, s.Subject, s.Renewable = id, id.Subject, rec.RefreshToken != ""
	s.Names = m.namesOf(key, s.Subject, s.SID)
	return s, nil
}

// namesOf are what a revocation can name a session by, in one piece of memory.
func (m *Manager) namesOf(key, subject, sid string) []string {
	session, person := bySession(Ended, key).By, m.bySubject(Ended, subject).By
	if sid == "" {
		all := session + person
		return []string{all[:len(session)], all[len(session):]}
	}
	all, end := session+person+m.bySID(Ended, sid).By, len(session)+len(person)
	return []string{all[:len(session)], all[len(session):end], all[end:]}
}

// compactOf is s without what a request does not need, in as little memory as it goes.
func compactOf(s *Session) (*Session, error) {
	c := *s
	c.compact = true
	c.IDToken, c.AccessToken, c.RefreshToken, c.Userinfo = "", "", "", nil
	c.Key = c.Names[0][len(sessionName):]
	c.ID = publicID(c.Key)
	c.UserAgent, c.Host = unique.Make(s.UserAgent).Value(), unique.Make(s.Host).Value()
	claims, err := payload(s.IDToken)
	if s.IDToken == "" || len(s.Userinfo) > 0 {
		claims, err = json.Marshal(s.Identity.Claims.All())
	}
	if err != nil {
		return nil, err
	}
	raw := string(claims)
	c.Identity = s.Identity.Compact(raw)
	for _, text := range []*string{&c.SID, &c.Identity.Subject, &c.Identity.Email, &c.Identity.Name, &c.Identity.Username} {
		if i := strings.Index(raw, *text); i >= 0 {
			*text = raw[i : i+len(*text)]
		}
	}
	c.Subject = c.Identity.Subject
	return &c, nil
}

// tokenClaims reads the claims of an ID token that was verified when it arrived
// and has been sealed since.
func tokenClaims(token string) (identity.Claims, error) {
	data, err := payload(token)
	if err != nil {
		return nil, err
	}
	return identity.ParseClaims(data)
}

// payload is the middle part of a token (RFC 7515 section 3.1).
func payload(token string) ([]byte, error) {
	_, rest, ok := strings.Cut(token, ".")
	encoded, _, more := strings.Cut(rest, ".")
	if !ok || !more {
		return nil, errors.New("ID token does not have three parts")
	}
	data, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("ID token's claims are not base64url")
	}
	return data, nil
}

// withUserinfo adds the userinfo's claims that the ID token lacks (OpenID Connect
// Core 5.3.2: the subject must be the same). A claim and its _verified companion
// are taken from one source, so that one cannot vouch for the other's address.
func withUserinfo(claims identity.Claims, userinfo json.RawMessage) (identity.Claims, error) {
	more, err := identity.ParseClaims(userinfo)
	if err != nil {
		return nil, err
	}
	if sub, _ := more["sub"].(string); sub == "" || sub != claims["sub"] {
		return nil, errors.New("userinfo is about another subject")
	}
	for _, name := range []string{"email", "phone_number"} {
		_, has := claims[name]
		_, hasVerified := claims[name+"_verified"]
		if has || hasVerified {
			delete(more, name)
			delete(more, name+"_verified")
		}
	}
	return claims.With(more), nil
}

// seal makes the row of a session: what is in the clear and the sealed body.
func (m *Manager) seal(s *Session, idled bool) (Row, error) {
	plain, err := json.Marshal(recordOf(s, idled))
	if err != nil {
		return Row{}, fmt.Errorf("encoding session: %w", err)
	}
	return m.sealRecord(s.Key, s.Version, recordMeta{s.Subject, s.SID, s.CreatedAt, s.LastUsed, s.ExpiresAt, idled}, plain)
}

// recordMeta is what a row shows of a record.
type recordMeta struct {
	subject, sid                 string
	created, lastUsed, expiresAt time.Time
	idled                        bool
}

func (m *Manager) sealRecord(key string, version uint64, meta recordMeta, plain []byte) (Row, error) {
	body := m.keys.Seal(purpose, plain, m.bind(key, version))
	if len(body) > maxBody {
		return Row{}, fmt.Errorf("session record has %d bytes, more than %d", len(body), maxBody)
	}
	row := Row{
		Key: key, Version: version, Subject: m.hash("subject", meta.subject),
		CreatedAt: meta.created, LastUsed: meta.lastUsed, ExpiresAt: meta.expiresAt, Idled: meta.idled, Body: body,
	}
	if meta.sid != "" {
		row.SID = m.hash("sid", meta.sid)
	}
	return row, nil
}

// open is the reverse of seal. newest is false when the body should be sealed
// again with the newest key.
func (m *Manager) open(key string, version uint64, body []byte) (rec *record, newest bool, err error) {
	if len(body) > maxBody {
		return nil, false, fmt.Errorf("body has %d bytes", len(body))
	}
	plain, newest, err := m.keys.Open(purpose, body, m.bind(key, version))
	if err != nil {
		return nil, false, err
	}
	rec, err = decodeRecord(plain)
	return rec, newest, err
}

func decodeRecord(plain []byte) (*record, error) {
	rec := &record{}
	if err := json.Unmarshal(plain, rec); err != nil {
		return nil, errors.New("body is not a record") // the decoder's text could quote it
	}
	if rec.Format != recordFormat {
		return nil, fmt.Errorf("record has format %d, not %d", rec.Format, recordFormat)
	}
	return rec, nil
}

// bind is what a body is bound to: the key, the version, and whose session it is.
func (m *Manager) bind(key string, version uint64) []byte {
	bind := make([]byte, 0, len(key)+len(m.issuer)+len(m.clientID)+8+3*4)
	bind = binary.BigEndian.AppendUint64(bind, version)
	return appendParts(bind, key, m.issuer, m.clientID)
}

// hash is how subjects and sids are named in the store: not readable, and not the
// same for another issuer or client. It must not depend on the secret, which can
// be rotated while markers live.
func (m *Manager) hash(kind, value string) string {
	sum := sha256.Sum256(appendParts(nil, kind, m.issuer, m.clientID, value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// appendParts joins parts so that no two lists of parts look the same.
func appendParts(to []byte, parts ...string) []byte {
	for _, part := range parts {
		to = binary.BigEndian.AppendUint32(to, uint32(len(part)))
		to = append(to, part...)
	}
	return to
}

func publicID(key string) string { return key[:min(idLength, len(key))] }
