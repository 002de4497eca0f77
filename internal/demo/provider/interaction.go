package provider

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// interaction is one authorization request that waits for a person.
type interaction struct {
	id, browser string

	client, redirectURI, responseMode, state, nonce, challenge string
	scopes                                                     []string // those that will be granted
	login                                                      bool     // prompt=login: a live session is not enough
	maxAge                                                     *uint    // nil: any age
	locales, hint, identifier                                  string
	oneTimeToken                                               string // "" none; good with hint as the address
	page                                                       string // path of the page it begins with
	usage                                                      string // what its codes are for: SignIn or Register

	signedIn     bool // somebody signed in in the course of it
	verification verification
}

// verification is the code that was sent last. Zero: none.
type verification struct {
	address, code string
	void          bool // no code was sent, and none is right
	sent          time.Time
	wrong         int
}

// Limits of one-time codes.
const (
	verificationLifetime = 10 * time.Minute
	maxTries             = 10
	maxMails             = 10
	mailWindow           = 10 * time.Minute
)

// start keeps an interaction under a new id for a browser. Unless parallel, it takes the place of the browser's others, and a code that was
// sent for them is good for it: whichever tab is finished answers the request that was made last.
func (s *store) start(it interaction, parallel bool) interaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	it.id = random()
	if last := s.browsers.get(now, it.browser); last != nil && !parallel {
		if old := s.interactions.get(now, *last); old != nil {
			if !old.signedIn { // who signs in next may be somebody else
				it.verification = old.verification
			}
			s.interactions.drop(*last)
		}
	}
	s.browsers.put(now, it.browser, it.id, interactionLifetime)
	s.interactions.put(now, it.id, it, interactionLifetime)
	return it
}

// interaction returns a browser's interaction: the one with an id, or the one started last if id is empty.
func (s *store) interaction(browser, id string) (interaction, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if id == "" {
		last := s.browsers.get(now, browser)
		if last == nil {
			return interaction{}, false
		}
		id = *last
	}
	it := s.interactions.get(now, id)
	if it == nil || it.browser != browser {
		return interaction{}, false
	}
	return *it, true
}

// browser reports whether a cookie value was given out here and is still remembered.
func (s *store) browser(cookie string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.browsers.get(s.now(), cookie) != nil
}

// update changes a kept interaction and returns it.
func (s *store) update(id string, change func(*interaction)) (interaction, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.interactions.get(s.now(), id)
	if it == nil {
		return interaction{}, false
	}
	change(it)
	return *it, true
}

// reserveMail counts a mail to an address; when there have been ten in ten minutes it counts none and returns how long to wait.
func (s *store) reserveMail(address string) (wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, key := s.now(), strings.ToLower(address)
	var sent []time.Time
	if kept := s.mailings.get(now, key); kept != nil {
		sent = slices.DeleteFunc(slices.Clone(*kept), func(t time.Time) bool { return now.Sub(t) >= mailWindow })
	}
	if len(sent) >= maxMails {
		return sent[0].Add(mailWindow).Sub(now)
	}
	s.mailings.put(now, key, append(sent, now), mailWindow)
	return 0
}

// releaseMail takes back the count of a mail that could not be sent.
func (s *store) releaseMail(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.mailings.get(s.now(), strings.ToLower(address)); kept != nil && len(*kept) > 0 {
		*kept = (*kept)[:len(*kept)-1]
	}
}

// sent remembers the code that was sent last for an interaction; the ones before it are worth nothing from now on.
// One that is void was not sent at all, and is told from others by nobody.
func (s *store) sent(id, address, code string, void bool) {
	s.update(id, func(it *interaction) {
		it.verification = verification{address: address, code: code, void: void, sent: s.now()}
	})
}

type outcome uint8

const (
	codeRefused outcome = iota // not the code that was sent last; tries are left
	codeOver                   // expired, tried too often, or used
	codeRight
)

// verify compares a typed code with the one sent last, which is used up when it is right or has been tried ten times.
func (s *store) verify(id, typed string) (result outcome, address string, left int) {
	result = codeOver
	s.update(id, func(it *interaction) {
		v := &it.verification
		address = v.address
		if v.code == "" || v.wrong >= maxTries || s.now().Sub(v.sent) >= verificationLifetime {
			return
		}
		if subtle.ConstantTimeCompare([]byte(typed), []byte(v.code)) == 1 && !v.void {
			v.code, result, it.signedIn = "", codeRight, true
			return
		}
		v.wrong++
		if left = maxTries - v.wrong; left > 0 {
			result = codeRefused
		}
	})
	return result, address, left
}

// newCode returns six digits.
func newCode() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", fmt.Errorf("making a code: %w", err)
	}
	return fmt.Sprintf("%06d", n), nil
}
