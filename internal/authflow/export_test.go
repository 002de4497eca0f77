package authflow

import (
	"time"

	"portero/internal/session"
)

// NewRefresherWithin makes a Refresher whose refreshes have that time, and whose leases last three times as long.
func NewRefresherWithin(timeout time.Duration) *Refresher { return newRefresher(timeout) }

// LeaseLife is how long a lease of a Refresher lasts.
func LeaseLife(x *Refresher) time.Duration { return leaseTimeouts * x.timeout }

// Settled returns when no refresh of a session is under way that had begun before.
func Settled(x *Refresher, s *session.Session) {
	<-x.calls.DoChan(s.Key, func() (any, error) { return s, errPostponed })
}
