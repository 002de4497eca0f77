package redisstore_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// address is one that moves from server to server: new connections go to the present
// one, and old ones stay where they are.
type address struct {
	addr string

	mu     sync.Mutex
	target string
	open   []net.Conn
}

func newSwitch(t *testing.T, target string) *address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &address{addr: l.Addr().String(), target: target}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			out, err := net.Dial("tcp", a.target)
			if err != nil {
				in.Close()
				a.mu.Unlock()
				continue
			}
			a.open = append(a.open, in, out)
			a.mu.Unlock()
			pass := func(to, from net.Conn) {
				io.Copy(to, from)
				to.Close()
				from.Close()
			}
			serving.Go(func() { pass(in, out) })
			serving.Go(func() { pass(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		a.mu.Lock()
		for _, conn := range a.open {
			conn.Close()
		}
		a.mu.Unlock()
		serving.Wait()
	})
	return a
}

func (a *address) to(target string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = target
}

func split(t *testing.T, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}
