package provider

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// apiError is an error answer of the Management API.
type apiError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data,omitempty"`
}

func writeAPIError(w http.ResponseWriter, status int, e apiError) {
	writeJSON(w, status, "application/json; charset=utf-8", e)
}

var errToken = errors.New("not an access token for the Management API")

// managed lets a handler of the Management API be called with a token of the management client, granted all.
func (p *Provider) managed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		header := r.Header.Get("Authorization")
		kind, token, _ := strings.Cut(header, " ")
		switch scope, err := p.managementScope(token); {
		case header == "":
			writeAPIError(w, http.StatusUnauthorized, apiError{Code: "auth.authorization_header_missing", Message: "Authorization header is missing."})
		case !strings.EqualFold(kind, "Bearer"):
			writeAPIError(w, http.StatusUnauthorized, apiError{Code: "auth.authorization_token_type_not_supported", Message: "Authorization type is not supported."})
		case err != nil:
			writeAPIError(w, http.StatusUnauthorized, apiError{
				Code: "auth.unauthorized", Message: "Unauthorized. Please check credentials and its scope.",
				Data: map[string]string{"code": "ERR_JWS_INVALID", "name": "JWSInvalid"},
			})
		case !slices.Contains(strings.Fields(scope), "all"):
			writeAPIError(w, http.StatusForbidden, apiError{Code: "auth.forbidden", Message: "Forbidden. Please check your user roles and permissions."})
		default:
			next(w, r)
		}
	}
}

// managementScope verifies an access token of the client-credentials grant (RFC 9068, section 4) and returns its scope.
func (p *Provider) managementScope(token string) (scope string, err error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES384, jose.RS256})
	if err != nil || len(parsed.Headers) != 1 || parsed.Headers[0].ExtraHeaders[jose.HeaderType] != "at+jwt" {
		return "", errToken
	}
	set := p.keys.public()
	keys := set.Key(parsed.Headers[0].KeyID)
	var claims struct {
		jwt.Claims
		Scope string `json:"scope"`
	}
	if len(keys) != 1 || parsed.Claims(keys[0].Key, &claims) != nil || claims.Expiry == nil {
		return "", errToken
	}
	return claims.Scope, claims.ValidateWithLeeway(jwt.Expected{
		Issuer: p.issuer, AnyAudience: jwt.Audience{p.config.ManagementResource}, Time: p.now(),
	}, 0)
}

// The shape of a session in the Management API. Times are seconds, but for expiresAt.
type (
	listedSession struct {
		ExpiresAt      int64         `json:"expiresAt"` // milliseconds
		Payload        listedPayload `json:"payload"`
		LastSubmission any           `json:"lastSubmission"`
		ClientID       *string       `json:"clientId"`
		AccountID      string        `json:"accountId"`
	}
	listedPayload struct {
		Expires        int64                          `json:"exp"`
		IssuedAt       int64                          `json:"iat"`
		JTI            string                         `json:"jti"`
		UID            string                         `json:"uid"`
		Kind           string                         `json:"kind"`
		LoginAt        int64                          `json:"loginTs"`
		AccountID      string                         `json:"accountId"`
		Authorizations map[string]listedAuthorization `json:"authorizations"`
	}
	listedAuthorization struct {
		SID            string `json:"sid"`
		GrantID        string `json:"grantId"`
		PersistsLogout bool   `json:"persistsLogout"`
	}
)

// serveSessions: GET /api/users/{user}/sessions lists the browsers in which a person is signed in. Nobody has none.
func (p *Provider) serveSessions(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", map[string]any{"sessions": p.store.sessionsOf(r.PathValue("user"))})
}

// serveDeleteSession: DELETE /api/users/{user}/sessions/{session} ends one browser session. What was granted for offline use lives on, unless
// revokeGrantsTarget says otherwise. No client is told.
func (p *Provider) serveDeleteSession(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Query().Get("revokeGrantsTarget")
	if target != "" && target != "all" && target != "firstParty" {
		writeAPIError(w, http.StatusBadRequest, apiError{Code: "guard.invalid_input", Message: "The request query is invalid."})
		return
	}
	// The one client here is a first-party one, so both targets mean the same.
	if !p.store.deleteSession(r.PathValue("user"), r.PathValue("session"), target != "") {
		writeAPIError(w, http.StatusNotFound, apiError{Code: "oidc.session_not_found", Message: "Session not found."})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// sessionsOf lists the live browser sessions of a person, the newest sign-in first.
func (s *store) sessionsOf(subject string) []listedSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	list := []listedSession{}
	for id, it := range s.sessions.items {
		live := s.sessions.get(now, id)
		if live == nil || live.subject != subject {
			continue
		}
		one := listedSession{
			ExpiresAt: it.expires.UnixMilli(), AccountID: subject,
			Payload: listedPayload{
				Expires: it.expires.Unix(), IssuedAt: it.expires.Add(-sessionLifetime).Unix(), JTI: base64.RawURLEncoding.EncodeToString([]byte(digest(live.id))), UID: live.uid, Kind: "Session",
				LoginAt: live.authTime.Unix(), AccountID: subject, Authorizations: map[string]listedAuthorization{},
			},
		}
		for client, a := range live.clients {
			one.ClientID = &client
			one.Payload.Authorizations[client] = listedAuthorization{SID: a.sid, GrantID: a.grant, PersistsLogout: true}
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b listedSession) int {
		return cmp.Or(cmp.Compare(b.Payload.LoginAt, a.Payload.LoginAt), cmp.Compare(a.Payload.UID, b.Payload.UID))
	})
	return list
}

// deleteSession ends a browser session of a person by its uid, with all that was granted in it if grants says so. False: there is none.
func (s *store) deleteSession(subject, uid string, grants bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for id := range s.sessions.items {
		live := s.sessions.get(now, id)
		if live == nil || live.subject != subject || live.uid != uid {
			continue
		}
		s.endBound(*live)
		if grants {
			for _, a := range live.clients {
				s.grants.drop(a.grant)
			}
		}
		s.sessions.drop(id)
		return true
	}
	return false
}
