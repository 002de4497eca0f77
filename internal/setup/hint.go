package setup

import (
	"errors"
	"strings"

	"portero/internal/management"
)

// Hint is what to type after an error of the Management API. "": nothing that would help is known.
func Hint(err error) string {
	var refused *management.RefusedError
	var told interface{ Hint() string }
	switch {
	case errors.As(err, &told):
		return told.Hint()
	case errors.Is(err, management.ErrUnavailable):
		return "see whether Logto answers at logto.endpoint (or logto.internal_endpoint)"
	case !errors.As(err, &refused):
		return ""
	case refused.Call == "token" && strings.HasSuffix(refused.Code, "invalid_target"): // oidc.invalid_target
		return "check logto.management.resource: of a Logto of one's own it is " + management.DefaultResource + ", of Logto Cloud https://TENANT.logto.app/api"
	case refused.Call == "token":
		return "check logto.management.app_id and its app_secret against the machine-to-machine application in Logto's console"
	case refused.Status == 401 || refused.Status == 403:
		return `give the machine-to-machine application of logto.management the role "Logto Management API access" in Logto's console, and check logto.management.resource`
	case refused.Code == "connector.invalid_config":
		return "check mailgun in the configuration: Logto refuses the connector"
	case refused.Status == 404 && refused.Code == "":
		return "check logto.endpoint: what answers there has no Management API of Logto"
	}
	return ""
}

// hintedError is an error and what to type.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func (e *hintedError) Hint() string { return e.hint }
