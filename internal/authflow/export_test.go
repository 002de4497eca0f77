package authflow

import "time"

// NewRefresherWithin makes a Refresher whose refreshes have that time, and whose leases last three times as long.
func NewRefresherWithin(timeout time.Duration) *Refresher { return newRefresher(timeout) }

// LeaseLife is how long a lease of a Refresher lasts.
func LeaseLife(x *Refresher) time.Duration { return leaseTimeouts * x.timeout }
