package redistest

import (
	"strings"
	"testing"
)

// Another test's server may take the free port first: its answer is not this one's.
func TestAnotherServerHasThePort(t *testing.T) {
	t.Parallel()
	other := Start(t)
	s := &Server{Addr: other.Addr, t: t, dir: t.TempDir()}
	for _, arg := range other.args {
		s.args = append(s.args, strings.ReplaceAll(arg, other.dir, s.dir))
	}
	t.Cleanup(s.Kill)
	if err := s.begin(); err == nil || !strings.Contains(s.Log(), "Address already in use") {
		t.Errorf("a server whose port is taken: got %v and the log %q, want an error and that the address is in use", err, s.Log())
	}
	if got := other.Do("PING"); got != "PONG" {
		t.Errorf("the one that has the port: got %v, want PONG", got)
	}
}
