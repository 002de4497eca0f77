package session

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/alexedwards/scs/v2"
)

// recordValue is the one value of an scs session.
const recordValue = "record"

// errContext is returned by the methods scs would call without a context. It never
// does, because adapter has the others.
var errContext = errors.New("session store needs a context")

var _ scs.CtxStore = adapter{}

// adapter is the store as scs sees it. Tokens arrive hashed (HashTokenInStore); the
// body can be sealed only here, because it is bound to that hash.
type adapter struct{ m *Manager }

func (a adapter) CommitCtx(ctx context.Context, key string, plain []byte, _ time.Time) error {
	rec, err := decodeRecord(plain)
	if err != nil {
		return err
	}
	meta := recordMeta{rec.Subject, rec.SID, instant(rec.CreatedAt), instant(rec.LastUsed), instant(rec.ExpiresAt), false}
	row, err := a.m.sealRecord(key, 1, meta, plain)
	if err != nil {
		return err
	}
	// scs would overwrite; a fresh token never needs to.
	if err := a.m.store.Create(ctx, row); err != nil {
		return a.m.unavailable("creating session", err)
	}
	return nil
}

func (a adapter) FindCtx(ctx context.Context, key string) ([]byte, bool, error) {
	row, found, err := a.m.store.Get(ctx, key)
	if err != nil || !found {
		return nil, false, err
	}
	plain, _, err := a.m.keys.Open(purpose, row.Body, a.m.bind(key, row.Version))
	return plain, err == nil, nil // what does not open is not there
}

func (a adapter) DeleteCtx(ctx context.Context, key string) error {
	_, err := a.m.store.Delete(ctx, key)
	return err
}

func (adapter) Find(string) ([]byte, bool, error)      { return nil, false, errContext }
func (adapter) Commit(string, []byte, time.Time) error { return errContext }
func (adapter) Delete(string) error                    { return errContext }

// codec writes a record as JSON, with a format number and no type names, where
// scs's default would take gob.
type codec struct{}

func (codec) Encode(_ time.Time, values map[string]any) ([]byte, error) {
	rec, ok := values[recordValue].(*record)
	if !ok {
		return nil, errors.New("scs session holds no record")
	}
	return json.Marshal(rec)
}

func (codec) Decode(plain []byte) (time.Time, map[string]any, error) {
	rec, err := decodeRecord(plain)
	if err != nil {
		return time.Time{}, nil, err
	}
	return instant(rec.ExpiresAt), map[string]any{recordValue: rec}, nil
}
