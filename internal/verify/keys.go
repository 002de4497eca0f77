package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	keepFor    = 5 * time.Minute // then the set is looked at again, and kept if that fails
	unknownFor = time.Minute     // an unknown kid has it looked at again that often
	noneFor    = time.Second     // without any key it is tried again that often
	maxSet     = 256 << 10
	maxKeys    = 100
)

// Keys are the keys of a key set that lies at a URL or in a file. They are safe for concurrent use.
type Keys struct {
	URL    string           // "": File
	File   string           // "": URL
	Client *http.Client     // bounded in time and length; for URL
	Now    func() time.Time // nil: time.Now
	Log    *slog.Logger

	mu      sync.Mutex
	keys    map[string]*ecdsa.PublicKey // :: kid → key
	fetched time.Time                   // the last time that it was there
	tried   time.Time
	done    chan struct{} // closed when the look that is under way is over; nil: none is
}

// Find is the key with this kid.
func (k *Keys) Find(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
	k.refresh(ctx, kid)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys == nil {
		return nil, &Refusal{http.StatusServiceUnavailable, "there are no keys to check it with"}
	}
	if key := k.keys[kid]; key != nil {
		return key, nil
	}
	return nil, refuse("its key is unknown")
}

// Ready says whether there are keys, and looks for them if there are none.
func (k *Keys) Ready(ctx context.Context) bool {
	k.refresh(ctx, "")
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys != nil
}

// refresh looks at the set again where that is due. Who has the key already does not wait for somebody else who looks.
func (k *Keys) refresh(ctx context.Context, kid string) {
	now := time.Now
	if k.Now != nil {
		now = k.Now
	}
	at := now()
	k.mu.Lock()
	known := k.keys != nil && (kid == "" || k.keys[kid] != nil)
	since := at.Sub(k.tried)
	due := k.tried.IsZero() || since < 0
	switch {
	case k.keys == nil:
		due = due || since >= noneFor
	case !known, at.Sub(k.fetched) >= keepFor:
		due = due || since >= unknownFor
	}
	if done := k.done; done != nil || !due {
		k.mu.Unlock()
		if done != nil && !known {
			select {
			case <-done:
			case <-ctx.Done():
			}
		}
		return
	}
	done := make(chan struct{})
	k.tried, k.done = at, done
	k.mu.Unlock()

	keys, err := k.read(context.WithoutCancel(ctx)) // for all who wait, whoever leaves

	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.Log.Warn("the key set could not be read; what was read before is kept", "error", err, "keys", len(k.keys))
	} else {
		k.keys, k.fetched = keys, at
	}
	k.done = nil
	close(done)
}

func (k *Keys) read(ctx context.Context) (map[string]*ecdsa.PublicKey, error) {
	if k.URL == "" {
		f, err := os.Open(k.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return parseSet(f)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL, nil)
	if err != nil {
		return nil, err
	}
	resp, err := k.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %d", resp.StatusCode)
	}
	return parseSet(resp.Body)
}

// parseSet reads the keys for ES256 of a set; others are left out. A set without one is none.
func parseSet(r io.Reader) (map[string]*ecdsa.PublicKey, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSet+1))
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ Kty, Crv, X, Y, Kid, Alg, Use string }
	}
	if err := json.Unmarshal(text, &set); err != nil || len(text) > maxSet || len(set.Keys) > maxKeys {
		return nil, errors.New("it is no key set, or a very large one")
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, j := range set.Keys {
		if j.Kty != "EC" || j.Crv != "P-256" || j.Kid == "" || j.Alg != "" && j.Alg != "ES256" || j.Use != "" && j.Use != "sig" {
			continue
		}
		x, err1 := base64.RawURLEncoding.Strict().DecodeString(j.X)
		y, err2 := base64.RawURLEncoding.Strict().DecodeString(j.Y)
		if err1 != nil || err2 != nil || len(x) != 32 || len(y) != 32 {
			continue
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if _, twice := keys[j.Kid]; err != nil || twice {
			continue
		}
		keys[j.Kid] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for ES256")
	}
	return keys, nil
}
