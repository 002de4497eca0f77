package tenant

import (
	"net/http"
	"slices"
	"time"
)

// oneTimeToken signs its address in once, without a code.
type oneTimeToken struct {
	TenantID  string         `json:"tenantId"`
	ID        string         `json:"id"`
	Email     string         `json:"email"`
	Token     string         `json:"token"`
	Context   map[string]any `json:"context"`
	Status    string         `json:"status"`
	CreatedAt int64          `json:"createdAt"` // milliseconds
	ExpiresAt int64          `json:"expiresAt"` // milliseconds
}

const oneTimeTokenLifetime = 10 * time.Minute

var tokenStatuses = []string{"active", "consumed", "revoked", "expired"}

var (
	createToken = object(
		member{"email", text(atLeast(1), atMost(128))},
		member{"context", optional(object(member{"jitOrganizationIds", optional(list(text()))}, member{"interactionEvent", optional(text())}))},
		member{"expiresIn", optional(number(atLeastNumber(1)))},
	)
	verifyToken = object(member{"token", text(atLeast(1), atMost(256))}, member{"email", text(atLeast(1), atMost(128))})
	putStatus   = object(member{"status", one(tokenStatuses...)})
)

func (t *Tenant) routeTokens() {
	t.handle("GET /api/one-time-tokens", nil, func(c call) (answer, error) {
		status, email := c.URL.Query().Get("status"), c.URL.Query().Get("email")
		if status != "" && !slices.Contains(tokenStatuses, status) {
			return answer{}, refusedInput("query", one(tokenStatuses...)(status, path{"status"}).issues)
		}
		found := []*oneTimeToken{}
		for _, k := range t.tokens {
			if (status == "" || k.Status == status) && (email == "" || k.Email == email) {
				found = append(found, ptr(*k))
			}
		}
		some, err := Page(c.w, c.Request, found, true)
		return answer{http.StatusOK, some}, err
	})
	t.handle("POST /api/one-time-tokens", createToken, func(c call) (answer, error) {
		life := oneTimeTokenLifetime
		if seconds, ok := c.body["expiresIn"].(float64); ok {
			life = time.Duration(seconds * float64(time.Second))
		}
		delete(c.body, "expiresIn")
		made := &oneTimeToken{TenantID: "default", ID: newID(21), Token: newSecret(), Context: map[string]any{}, Status: "active",
			CreatedAt: t.milliseconds(), ExpiresAt: t.now().Add(life).UnixMilli()}
		fill(made, c.body)
		for _, k := range t.tokens { // Logto tidies up what has run out of this address
			if k.Email == made.Email && k.Status == "active" && k.ExpiresAt <= t.milliseconds() {
				k.Status = "expired"
			}
		}
		t.tokens = append(t.tokens, made)
		return answer{http.StatusCreated, *made}, nil
	})
	t.handle("GET /api/one-time-tokens/{id}", nil, func(c call) (answer, error) {
		k, err := t.tokenByID(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		return answer{http.StatusOK, *k}, nil
	})
	t.handle("PUT /api/one-time-tokens/{id}/status", putStatus, func(c call) (answer, error) {
		k, err := t.tokenByID(c.PathValue("id"))
		switch {
		case err != nil:
			return answer{}, err
		case c.body["status"] == "active":
			return answer{}, refused("one_time_token.cannot_reactivate_token", "Cannot reactivate the token.")
		}
		k.Status = c.body["status"].(string)
		return answer{http.StatusOK, *k}, nil
	})
	t.handle("POST /api/one-time-tokens/verify", verifyToken, func(c call) (answer, error) {
		k, err := t.consume(c.body["token"].(string), c.body["email"].(string))
		if err != nil {
			return answer{}, err
		}
		return answer{http.StatusOK, *k}, nil
	})
	t.handle("DELETE /api/one-time-tokens/{id}", nil, func(c call) (answer, error) {
		k, err := t.tokenByID(c.PathValue("id"))
		if err != nil {
			return answer{}, err
		}
		t.tokens = slices.DeleteFunc(t.tokens, func(one *oneTimeToken) bool { return one == k })
		return answer{status: http.StatusNoContent}, nil
	})
}

func (t *Tenant) tokenByID(id string) (*oneTimeToken, error) {
	for _, k := range t.tokens {
		if k.ID == id {
			return k, nil
		}
	}
	return nil, notExists("one_time_tokens", id)
}

// consume uses a token up. The caller holds the mutex.
func (t *Tenant) consume(token, email string) (*oneTimeToken, error) {
	i := slices.IndexFunc(t.tokens, func(k *oneTimeToken) bool { return same(k.Token, token) })
	if i < 0 {
		return nil, &Error{Status: http.StatusNotFound, Code: "one_time_token.token_not_found", Message: "Token " + token + " not found."}
	}
	k := t.tokens[i]
	switch {
	case k.Email != email:
		return nil, refused("one_time_token.email_mismatch", "Email mismatch with given token.")
	case k.ExpiresAt <= t.milliseconds() || k.Status == "expired":
		if k.Status == "active" {
			k.Status = "expired"
		}
		return nil, refused("one_time_token.token_expired", "The token is expired.")
	case k.Status == "consumed":
		return nil, refused("one_time_token.token_consumed", "The token has been consumed.")
	case k.Status == "revoked":
		return nil, refused("one_time_token.token_revoked", "The token has been revoked.")
	}
	k.Status = "consumed"
	return k, nil
}

// ConsumeOneTimeToken uses a token up that is for an address. Its error is an *Error.
func (t *Tenant) ConsumeOneTimeToken(token, email string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.consume(token, email)
	return err
}
