package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"portero/internal/gatewaytest"
	"portero/internal/logto"
)

type secretStatus struct {
	AppID  string `json:"app_id"`
	Secret string `json:"app_secret"`
	Used   bool   `json:"app_secret_used"`
}

func statusOfSecret(t *testing.T, rig *gatewaytest.Rig, query string) secretStatus {
	t.Helper()
	var body struct{ Logto secretStatus }
	if err := json.Unmarshal([]byte(rig.Admin(t, http.MethodGet, "/api/status"+query).Text), &body); err != nil {
		t.Fatal(err)
	}
	return body.Logto
}

// The admin listener says which client secret is in force and whether Logto has taken it, and not what it is.
func TestStatusTellsOfTheSecret(t *testing.T) {
	t.Parallel()
	rig := gatewaytest.New(t, nil)
	id, first := rig.Issuer.AppID, rig.Issuer.AppSecret
	if got, want := statusOfSecret(t, rig, ""), (secretStatus{id, logto.Fingerprint(id, first), false}); got != want {
		t.Errorf("before any call: got %+v, want %+v", got, want)
	}
	rig.SignedIn(t, "/")
	if got, want := statusOfSecret(t, rig, ""), (secretStatus{id, logto.Fingerprint(id, first), true}); got != want {
		t.Errorf("after a sign-in: got %+v, want %+v", got, want)
	}

	// One that Logto does not take is loaded, and never used.
	wrong, good := "wrong-canary-0123456789", "rotated-abcdefghijABCDEFGHIJ12345"
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AppSecret = wrong })
	rig.Configure(&gatewaytest.Options{})
	rig.Issuer.Do(func(i *gatewaytest.Issuer) { i.AppSecret = good })
	if err := rig.Gateway.Reload(); err != nil {
		t.Fatal(err)
	}
	gatewaytest.Await(t, "the log says that the secret is not taken", func() bool {
		return strings.Contains(rig.Log.String(), "Logto does not take the client secret")
	})
	if got, want := statusOfSecret(t, rig, ""), (secretStatus{id, logto.Fingerprint(id, wrong), false}); got != want {
		t.Errorf("with a wrong secret: got %+v, want %+v", got, want)
	}

	// A good one is tried though nobody signs in.
	reload(t, rig, &gatewaytest.Options{})
	gatewaytest.Await(t, "the new secret has been tried", func() bool { return statusOfSecret(t, rig, "").Used })
	if got, want := statusOfSecret(t, rig, ""), (secretStatus{id, logto.Fingerprint(id, good), true}); got != want {
		t.Errorf("with a new secret: got %+v, want %+v", got, want)
	}
	// After a start it is tried when somebody asks for it.
	rig.Restart(t)
	if statusOfSecret(t, rig, "").Used {
		t.Error("after a start: got a secret that counts as used, though nobody asked")
	}
	gatewaytest.Await(t, "the secret has been tried", func() bool { return statusOfSecret(t, rig, "?prove").Used })
	if log := rig.Log.String(); strings.Contains(log, "canary") || strings.Contains(log, good) {
		t.Errorf("the log holds a secret:\n%s", log)
	}
}
