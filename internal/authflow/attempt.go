package authflow

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"portero/internal/session"
)

// Bounds of attempts.
const (
	maxAttempts       = 10               // kept in one browser; the oldest is dropped
	maxAttemptCookie  = 1536             // bytes of one cookie, name and value
	maxAttemptCookies = 6 << 10          // bytes of all of them together
	attemptLife       = 60 * time.Minute // how long it can be finished; Logto's interaction lives as long
	attemptKept       = 24 * time.Hour   // how long its cookie stays, so that a restart still knows the return path
	maxState          = 512              // bytes of the state parameter
	loopWindow        = time.Minute      // three landings on one page within it are a loop
	loopLimit         = 3
)

// Purposes of what is sealed; one is never accepted as another.
const (
	purposeAttempt   = "attempt"
	purposeState     = "state"
	purposeSignedOut = "signed-out"
	// The link of an invitation: invitation.go.
	purposeInvitation = "invitation"
)

// attemptID names an attempt in its cookie and its state.
type attemptID [16]byte

func (id attemptID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// attempt is a sign-in that was started in this browser. Until it is spent it can be finished once.
type attempt struct {
	id     attemptID
	size   int // bytes of its cookie as received
	Seed   []byte
	Start  int64  // Unix milliseconds, so that the oldest of several tabs can be told
	Return string // a return path
	Login  bool   `json:",omitempty"` // sent with prompt=login
	Guest  []byte `json:",omitempty"` // guestOf the address that alone may sign in by it; nil: anybody may
	Spent  int64  `json:",omitempty"` // Unix seconds when it landed; then Seed is gone
}

func (a *attempt) returnPath() ReturnPath {
	p, _ := ParseReturnPath(a.Return)
	return p
}

func (a *attempt) startedAt() time.Time { return time.UnixMilli(a.Start) }

// usable reports whether a can still be finished at now.
func (a *attempt) usable(now time.Time) bool {
	return a.Spent == 0 && len(a.Seed) > 0 && now.Sub(a.startedAt()) < attemptLife
}

// verifier is the PKCE code verifier (RFC 7636 4.1), 43 characters.
func (a *attempt) verifier() string { return a.derive("verifier") }

// nonce binds the ID token to this attempt (OpenID Connect Core 1.0 3.1.2.1).
func (a *attempt) nonce() string { return a.derive("nonce") }

func (a *attempt) derive(what string) string {
	mac := hmac.New(sha256.New, a.Seed)
	mac.Write([]byte(what))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// newAttempt makes one from a single random value.
func newAttempt(now time.Time, ret ReturnPath, login bool) *attempt {
	a := &attempt{Seed: make([]byte, 32), Start: now.UnixMilli(), Return: ret.String(), Login: login}
	rand.Read(a.id[:])
	rand.Read(a.Seed)
	return a
}

// state is what Logto hands back: which attempt it answers, and how often it was restarted.
type state struct {
	attempt  attemptID
	start    time.Time
	restarts uint8 // automatic restarts before this one
	fresh    uint8 // automatic sign-ins with prompt=login before this one
	noCookie bool  // no attempt cookie came back at the callback before this one
}

const stateSize = 16 + 8 + 3

func (s state) marshal() []byte {
	b := make([]byte, 0, stateSize)
	b = append(b, s.attempt[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.start.Unix()))
	flag := byte(0)
	if s.noCookie {
		flag = 1
	}
	return append(b, s.restarts, s.fresh, flag)
}

var errState = errors.New("the state is not one of ours")

func parseState(b []byte) (state, error) {
	if len(b) != stateSize {
		return state{}, errState
	}
	s := state{start: time.Unix(int64(binary.BigEndian.Uint64(b[16:])), 0), restarts: b[24], fresh: b[25], noCookie: b[26] == 1}
	copy(s.attempt[:], b)
	return s, nil
}

// sealState renders a state for host; openState reads it back.
func (f *Flow) sealState(host string, s state) string {
	return f.Keys.SealText(purposeState, s.marshal(), f.bind(host))
}

func (f *Flow) openState(host, text string) (state, error) {
	if text == "" || len(text) > maxState {
		return state{}, errState
	}
	b, _, err := f.Keys.OpenText(purposeState, text, f.bind(host))
	if err != nil {
		return state{}, errState
	}
	return parseState(b)
}

// bind ties what is sealed to one issuer, client and host.
func (f *Flow) bind(host string) []byte {
	return []byte(f.Provider.Issuer() + "\x00" + f.ClientID + "\x00" + host)
}

func (f *Flow) attemptCookie(id attemptID) string { return f.Cookie + "-" + id.String() }

// setAttempt writes the cookie of a; it reports false, and writes nothing, when a does not fit.
func (f *Flow) setAttempt(w http.ResponseWriter, host string, a *attempt) bool {
	name, value, ok := f.sealAttempt(host, a)
	if !ok {
		return false
	}
	a.size = len(name) + len(value)
	http.SetCookie(w, f.cookie(name, value, int(attemptKept/time.Second)))
	return true
}

// sealAttempt makes name and value of the cookie of a; ok is false when a does not fit.
func (f *Flow) sealAttempt(host string, a *attempt) (name, value string, ok bool) {
	plain, err := json.Marshal(a)
	if err != nil {
		return "", "", false
	}
	name = f.attemptCookie(a.id)
	value = f.Keys.SealText(purposeAttempt, plain, append(f.bind(host), a.id[:]...))
	return name, value, len(name)+len(value) <= maxAttemptCookie
}

// cookie has the attributes of every cookie of ours: this host alone, no script, Lax.
func (f *Flow) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: f.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// attempts reads the attempts this browser brings, newest first, and the names of cookies that look like attempts and
// are none (those are to be dropped). An id that comes twice is none.
func (f *Flow) attempts(r *http.Request, host string) (found []*attempt, broken []string) {
	prefix := f.Cookie + "-"
	seen := map[attemptID]int{}
	for name, value := range session.Cookies(r) {
		text, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil || len(raw) != len(attemptID{}) {
			continue // the language cookie, or another's
		}
		id := attemptID(raw)
		seen[id]++
		a := &attempt{}
		plain, _, err := f.Keys.OpenText(purposeAttempt, value, append(f.bind(host), id[:]...))
		if err != nil || json.Unmarshal(plain, a) != nil || seen[id] > 1 {
			broken = append(broken, name)
			found = slices.DeleteFunc(found, func(b *attempt) bool { return b.id == id })
			continue
		}
		a.id, a.size = id, len(name)+len(value)
		found = append(found, a)
	}
	slices.SortStableFunc(found, func(a, b *attempt) int { return cmp.Compare(b.Start, a.Start) })
	return found, broken
}

// dropAttempts removes broken cookies and, oldest first, what is over the bounds once added bytes more come along.
func (f *Flow) dropAttempts(w http.ResponseWriter, found []*attempt, broken []string, added int) {
	for _, name := range broken {
		http.SetCookie(w, f.cookie(name, "", -1))
	}
	total := added
	for i, a := range found {
		total += a.size
		if i+1 >= maxAttempts || total > maxAttemptCookies {
			http.SetCookie(w, f.cookie(f.attemptCookie(a.id), "", -1))
		}
	}
}

// spend turns the cookie of a into a spent one that holds only the return path.
func (f *Flow) spend(w http.ResponseWriter, host string, a *attempt) {
	a.Seed, a.Spent = nil, f.now().Unix()
	f.setAttempt(w, host, a)
}

// looping reports whether automatic sign-ins for one page have landed so often within a minute that one more would
// not help: cookies that are not kept, or a clock that is far off.
func looping(found []*attempt, ret ReturnPath, now time.Time) bool {
	n := 0
	for _, a := range found {
		if a.Spent != 0 && a.Return == ret.String() && now.Sub(time.Unix(a.Spent, 0)) < loopWindow {
			n++
		}
	}
	return n >= loopLimit
}

// stateMark is the name under which a consumed state is remembered.
func stateMark(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "state:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
