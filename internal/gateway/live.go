package gateway

import (
	"context"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"portero/internal/live"
	"portero/internal/route"
	"portero/internal/session"
	"portero/internal/telemetry"
)

// What is open for a session ends with it, on every replica and within two seconds: WebSockets, event streams, downloads,
// uploads, and requests that wait for their answer.
//
//   - A sign-out, a revocation, a logout from the provider, a session that is replaced or not renewed: the replica that
//     ends it and all others learn of it from the log of revocations, and close.
//   - The absolute end is known here: attend closes, whether the store can be asked or not.
//   - Whether a session has idled, the store is asked: it may be in use on another replica. Use is counted by requests, not
//     by what passes over a connection that is open.
//   - After the log was lost, and after a reload, which may have changed what idling is, the store is asked about every
//     session that something is open for.
//
// While the store cannot be asked, what is open stays open until the absolute end.

const (
	attendEvery = time.Second
	askAtOnce   = 16   // sessions asked about at the same time
	askInTurn   = 1000 // and before anything is done about the answers
)

// closer closes what is open for sessions of which it is told that they are over.
type closer struct {
	live   *live.Registry
	missed chan struct{} // endings may have been

	mu      sync.Mutex
	ended   []live.Ending // not closed yet
	closing bool          // somebody is at it
}

func newCloser(l *live.Registry) *closer { return &closer{live: l, missed: make(chan struct{}, 1)} }

// end is session.RevocationsConfig.Ended. It waits for nobody: thousands may come in a row, and closing one walks over
// everything that is open, as closing all of them does.
func (c *closer) end(r session.Revocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = append(c.ended, live.Ending{Name: r.By, At: r.At})
	if !c.closing {
		c.closing = true
		go c.close()
	}
}

func (c *closer) close() {
	for {
		c.mu.Lock()
		all := c.ended
		c.ended = nil
		c.closing = len(all) > 0
		c.mu.Unlock()
		if len(all) == 0 {
			return
		}
		c.live.CloseEach(all)
	}
}

// miss is session.RevocationsConfig.Missed.
func (c *closer) miss() {
	select {
	case c.missed <- struct{}{}:
	default: // it is known already
	}
}

// attend ends what is open for sessions that run out, until ctx ends.
func (g *Gateway) attend(ctx context.Context) {
	tick := time.NewTicker(attendEvery)
	defer tick.Stop()
	asked := make(chan []string) // :: about whom the store gave no answer
	asking, everybody, built := false, false, g.current.Load()
	var left []string
	for {
		select {
		case <-ctx.Done():
			if asking {
				<-asked
			}
			return
		case left = <-asked: // they have their turn at the next tick
			asking = false
			continue
		case <-g.closer.missed:
			everybody = true
		case <-tick.C:
		}
		due := g.live.Due(g.now())
		if now := g.current.Load(); now != built {
			built, everybody = now, true
		}
		if asking {
			continue
		}
		if everybody {
			due, left, everybody = g.live.Sessions(), nil, false
		}
		if due = append(due, left...); len(due) == 0 {
			continue
		}
		slices.Sort(due)
		due, left, asking = slices.Compact(due), nil, true
		go func() { asked <- g.ask(ctx, built.sessions, due) }()
	}
}

// ask asks the store how sessions stand, and closes what is open for those that are over. It stops where the store gives
// no answer, and returns the rest.
func (g *Gateway) ask(ctx context.Context, sessions *session.Manager, names []string) (left []string) {
	for turn := range slices.Chunk(names, askInTurn) {
		if ctx.Err() != nil || len(left) > 0 {
			left = append(left, turn...)
			continue
		}
		var mu sync.Mutex
		idle := make(map[string]time.Time, len(turn))
		var over []live.Ending
		work, asking := errgroup.WithContext(ctx)
		work.SetLimit(askAtOnce)
		for _, name := range turn {
			work.Go(func() error {
				var ends time.Time
				var ok bool
				err := asking.Err() // of somebody before
				if err == nil {
					ends, _, ok, err = sessions.Standing(asking, name)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					left = append(left, name)
				case ok:
					idle[name] = ends
				default:
					over = append(over, live.Ending{Name: name, At: time.Unix(0, math.MaxInt64)}) // whenever it was created
				}
				return err
			})
		}
		_ = work.Wait() // left has the names
		g.live.Extend(idle)
		g.live.CloseEach(over)
	}
	return left
}

// overtaken answers a request whose session ended before the application answered. A page is asked for again by signing
// in; what may have changed something is not said to be undone, nor sent again.
func (g *generation) overtaken(w http.ResponseWriter, r *http.Request, target route.Target, err error) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return err
	}
	telemetry.FromContext(r.Context()).Err = err
	leaveUnread(w, r)
	return g.flow.Challenge(w, r, g.returnPath(target))
}

// idles is when a session idles, as far as is known. Zero: there is none.
func (g *generation) idles(s *session.Session) time.Time {
	if s == nil {
		return time.Time{}
	}
	return g.sessions.IdleEnds(s)
}
