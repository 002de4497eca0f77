package gateway

import (
	"context"
	"errors"
	"time"

	"portero/internal/logto"
)

// A client secret is rotated with both values good at Logto: the new one is written to logto.app_secret_file, this gateway
// loads it and says so on the admin listener, and only then the old one is taken away. What it says is that no call will need
// the old one, so the new one is tried even if nobody signs in.

// A new secret is tried so often where Logto does not answer, with a pause that doubles each time.
const (
	proofTries = 5
	proofPause = time.Second
	// refusedAgain is when one that Logto does not take is tried again, if somebody asks for it.
	refusedAgain = 10 * time.Second
)

// prove has the client secret tried, unless a call has used it before.
func (g *Gateway) prove() {
	select {
	case g.unproven <- struct{}{}:
	default: // it is known already
	}
}

// proveSecrets tries client secrets until ctx ends.
func (g *Gateway) proveSecrets(ctx context.Context) {
	var refused string // fingerprint of the last one that Logto did not take
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.unproven:
		}
		now := g.current.Load().fingerprint()
		if now == refused && time.Since(at) < refusedAgain {
			continue
		}
		if !g.proveSecret(ctx) {
			refused, at = now, time.Now()
		}
	}
}

// proveSecret is false when Logto does not take the secret.
func (g *Gateway) proveSecret(ctx context.Context) bool {
	for try := range proofTries {
		gen := g.current.Load()
		if gen.secret.Taken() {
			return true
		}
		err := gen.flow.Provider.Prove(ctx)
		switch {
		case err == nil:
			g.log.Info("Logto takes the client secret", "fingerprint", gen.fingerprint())
			return true
		case ctx.Err() != nil:
			return true
		case !errors.Is(err, logto.ErrUnavailable):
			g.log.Error("Logto does not take the client secret: nobody can sign in", "error", err)
			return false
		}
		g.log.Warn("nobody knows yet whether Logto takes the client secret", "error", err)
		timer := time.NewTimer(proofPause << try)
		select {
		case <-ctx.Done():
			timer.Stop()
			return true
		case <-timer.C:
		}
	}
	return true
}

// fingerprint names the client secret of the configuration without telling it.
func (gen *generation) fingerprint() string {
	return logto.Fingerprint(gen.config.Logto.AppID, gen.config.Logto.AppSecret.Reveal())
}

// secretStatus is what the admin listener says about the client secret.
type secretStatus struct {
	AppID string `json:"app_id"`
	// Secret is a fingerprint.
	Secret string `json:"app_secret"`
	// Used: Logto has taken it, and no call with an earlier one is under way.
	Used bool `json:"app_secret_used"`
}

func (gen *generation) secretStatus() secretStatus {
	return secretStatus{AppID: gen.config.Logto.AppID, Secret: gen.fingerprint(), Used: gen.secret.Used(gen.config.Logto.AppSecret.Reveal())}
}
