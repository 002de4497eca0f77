package provider

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Endpoint names what a switch acts on.
type Endpoint string

// The endpoints that can be counted, delayed and taken down.
const (
	Discovery     Endpoint = "discovery"
	KeySet        Endpoint = "jwks"
	Authorization Endpoint = "authorization"
	Token         Endpoint = "token"
	Revocation    Endpoint = "revocation"
	Userinfo      Endpoint = "userinfo"
	EndSession    Endpoint = "end-session"
	Management    Endpoint = "management"
	Pages         Endpoint = "pages"
)

// Behaviour is how the provider departs from its habits. The zero value is Logto 1.42 with its default lifetimes.
type Behaviour struct {
	WrongNonce    bool // ID tokens carry another nonce
	WrongAudience bool // ID tokens are for another client
	OmitIssuer    bool // authorization responses lack iss, although discovery promises it
	OmitSID       bool // ID tokens and logout tokens lack sid, as without backchannelLogoutSessionRequired
	Line141       bool // ID tokens have typ and at_hash, logout tokens no exp, and revoking an access token leaves its grant

	IDTokenLifetime      time.Duration // 0: as the application says
	AccessTokenLifetime  time.Duration // 0: 1 h
	RefreshTokenLifetime time.Duration // 0: as the application says

	RotateRefreshTokens bool // every refresh replaces the refresh token, not only one past 70 % of its lifetime
	OmitRefreshToken    bool // answers to a refresh lack refresh_token
	OmitIDToken         bool // answers to a refresh lack id_token
	DenyRefresh         bool // a refresh is answered access_denied, as when access to the application has been taken away

	BackchannelURI string // where the logout tokens of every application go; "": where the application says
	LoseLogouts    bool   // logout tokens are dropped, as Logto 1.42 drops those for private addresses
}

// Profile is what is known about a person beside the address.
type Profile struct {
	Name, Username, Picture string         // "": null
	Roles                   []string       // nil: admin for addresses ending in @admin.example, else none
	Organizations           []string       // ids
	CustomData              map[string]any // told by userinfo alone
	UnverifiedEmail         bool
}

// Switches makes the provider slow, absent, wrong or forgetful, and counts what it was asked. All methods may be called at any time.
type Switches struct {
	provider *Provider

	mu        sync.Mutex
	behaviour Behaviour
	delays    map[Endpoint]time.Duration
	outages   map[Endpoint]int // :: endpoint → status, or hang
	calls     map[Endpoint]int
	grants    map[string]int // :: grant_type → calls of the token endpoint
}

const hang = -1

func newSwitches(p *Provider) *Switches {
	return &Switches{
		provider:  p,
		behaviour: Behaviour{Line141: p.tenant.Line141()},
		delays:    map[Endpoint]time.Duration{},
		outages:   map[Endpoint]int{},
		calls:     map[Endpoint]int{},
		grants:    map[string]int{},
	}
}

// Change changes the behaviour from the next answer on.
func (s *Switches) Change(change func(*Behaviour)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.behaviour)
}

// Delay makes an endpoint answer late; 0 ends it.
func (s *Switches) Delay(e Endpoint, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delays[e] = d
}

// Down makes an endpoint answer with nothing but a status.
func (s *Switches) Down(e Endpoint, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outages[e] = status
}

// Hang makes an endpoint answer never: requests wait until their client or the provider gives up.
func (s *Switches) Hang(e Endpoint) { s.Down(e, hang) }

// Up ends delay and outage of endpoints; of all when none is named.
func (s *Switches) Up(endpoints ...Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(endpoints) == 0 {
		endpoints = slices.Concat(slices.Collect(maps.Keys(s.delays)), slices.Collect(maps.Keys(s.outages)))
	}
	for _, e := range endpoints {
		delete(s.delays, e)
		delete(s.outages, e)
	}
}

// Calls is how often an endpoint was asked, outages included.
func (s *Switches) Calls(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[e]
}

// TokenCalls is how often the token endpoint was asked for a grant type, outages excluded.
func (s *Switches) TokenCalls(grantType string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants[grantType]
}

// RotateKey makes a new signing key, ES384 or RS256; the old ones stay in the key set.
func (s *Switches) RotateKey(algorithm string) error {
	if err := s.provider.keys.rotate(algorithm); err != nil {
		return fmt.Errorf("rotating the signing key: %w", err)
	}
	return nil
}

// Suspend suspends the person with an address, or lifts it. Sessions and tokens end at once, and lifting does not bring them back.
func (s *Switches) Suspend(address string, suspended bool) {
	s.provider.store.suspend(address, suspended)
}

// SetProfile says what is known about the person with an address, who is registered if unknown, and returns the subject.
func (s *Switches) SetProfile(address string, profile Profile) (subject string) {
	return s.provider.store.setProfile(address, profile)
}

func (s *Switches) current() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.behaviour
	b.AccessTokenLifetime = cmp.Or(b.AccessTokenLifetime, time.Hour)
	return b
}

func (s *Switches) countGrant(grantType string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.grants[grantType]; known || len(s.grants) < 100 {
		s.grants[grantType]++
	}
}

// observe counts the requests of an endpoint and applies its delay and outage.
func (s *Switches) observe(e Endpoint, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls[e]++
		delay, outage := s.delays[e], s.outages[e]
		s.mu.Unlock()

		if delay > 0 {
			timer := time.NewTimer(delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
			case <-s.provider.closed:
			}
		}
		switch {
		case outage == hang:
			io.Copy(io.Discard, r.Body) // only behind the body does net/http notice that the client has gone
			select {
			case <-r.Context().Done():
			case <-s.provider.closed:
			}
			panic(http.ErrAbortHandler)
		case outage != 0:
			w.WriteHeader(outage)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
