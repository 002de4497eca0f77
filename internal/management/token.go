package management

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// tokenMargin is how long before its end a token is no longer used, at most a tenth of its life.
	tokenMargin = time.Minute
	// tokenLife is assumed where Logto names none.
	tokenLife = time.Minute
)

// tokens keeps the access token of the client-credentials grant.
type tokens struct {
	fetch   func(context.Context) (token string, life time.Duration, err error)
	now     func() time.Time
	timeout time.Duration // of a fetch

	mu     sync.Mutex
	token  string
	until  time.Time
	flight *fetch // that runs; nil: none
}

// fetch is one running fetch of a token. It belongs to no caller, so that nobody's leaving spoils it for the others.
type fetch struct {
	done  chan struct{}
	token string // readable once done is closed, like err
	err   error
}

// get returns a token that lives, fetching one if there is none. Where the fetch that it finds under way comes to nothing,
// it has one of its own: what failed may have been over before it asked.
func (t *tokens) get(ctx context.Context) (string, error) {
	token, mine, err := t.join(ctx)
	if !mine && errors.Is(err, ErrUnavailable) && ctx.Err() == nil {
		token, _, err = t.join(ctx)
	}
	return token, err
}

// join waits for the fetch that is under way. mine: there was none, and it began this one.
func (t *tokens) join(ctx context.Context) (token string, mine bool, err error) {
	t.mu.Lock()
	if t.token != "" && t.now().Before(t.until) {
		defer t.mu.Unlock()
		return t.token, false, nil
	}
	if t.flight == nil {
		mine = true
		t.flight = &fetch{done: make(chan struct{})}
		go t.run(context.WithoutCancel(ctx), t.flight)
	}
	running := t.flight
	t.mu.Unlock()
	select {
	case <-running.done:
		return running.token, mine, running.err
	case <-ctx.Done():
		return "", mine, &unavailable{call: "token", cause: context.Cause(ctx)}
	}
}

func (t *tokens) run(ctx context.Context, f *fetch) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	began := t.now()
	token, life, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.token, t.until = token, began.Add(life-min(tokenMargin, life/10))
	}
	f.token, f.err = token, err
	t.flight = nil
	close(f.done)
}

// drop forgets a token that is no longer taken, unless there is another one already.
func (t *tokens) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}

// fetchToken asks the token endpoint (RFC 6749 4.4.2). Without the scope `all` Logto gives a token that its API
// refuses.
func (m *Client) fetchToken(ctx context.Context) (string, time.Duration, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {m.config.Resource}, "scope": {"all"}}
	// RFC 6749 2.3.1 has both parts form-encoded first.
	pair := url.QueryEscape(m.config.AppID) + ":" + url.QueryEscape(m.config.AppSecret)
	r := request{
		name: "token", method: http.MethodPost, address: m.address("", "oidc", "token"),
		authorization: "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)),
		mediaType:     "application/x-www-form-urlencoded", body: []byte(form.Encode()),
		repeatable: true, // a token too many changes nothing
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if _, err := m.send(ctx, r, &answer); err != nil {
		return "", 0, err
	}
	if !plainToken(answer.AccessToken) || !strings.EqualFold(answer.TokenType, "Bearer") {
		return "", 0, &RefusedError{Call: "token", Status: http.StatusOK, cause: errMalformed}
	}
	life := tokenLife
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, (24*time.Hour).Seconds()) * float64(time.Second))
	}
	return answer.AccessToken, life, nil
}

// plainToken reports whether a token can stand in a header (RFC 6750 2.1: b64token).
func plainToken(token string) bool {
	return token != "" && len(token) < 16<<10 && !strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' })
}
