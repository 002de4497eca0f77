package catalogue_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
	"portero/internal/redistest"
)

// liar stands in front of Redis and may answer every command itself.
type liar struct {
	net.Listener
	redis string

	mu    sync.Mutex
	says  string // "": Redis answers
	conns map[net.Conn]bool
}

// say makes it answer with text from now on, on connections that are new.
func (l *liar) say(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.says = text
	for c := range l.conns {
		c.Close()
	}
}

func (l *liar) serve() {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns[c] = true
		says := l.says
		l.mu.Unlock()
		go func() {
			defer func() {
				c.Close()
				l.mu.Lock()
				delete(l.conns, c)
				l.mu.Unlock()
			}()
			if says != "" { // a command comes in one piece
				for b := make([]byte, 64<<10); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					if _, err := io.WriteString(c, says); err != nil {
						return
					}
				}
			}
			r, err := net.Dial("tcp", l.redis)
			if err != nil {
				return
			}
			defer r.Close()
			go func() { io.Copy(r, c); r.Close() }()
			io.Copy(c, r)
		}()
	}
}

// storeLies tries what a server may say in place of an answer, on a gateway of its own.
func storeLies(t *testing.T) {
	server := redistest.Start(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{Listener: listener, redis: server.Addr, conns: map[net.Conn]bool{}}
	go l.serve()
	t.Cleanup(func() { l.Close(); l.say("") })
	f := unsigned(t, gatewaytest.Options{Session: fmt.Sprintf("store: redis, secret: %s, redis: {url: %q}", gatewaytest.SessionSecret, "redis://"+listener.Addr().String()+"/0")})
	a, b := f.arrive(t, newAlice()), f.arrive(t, bob)
	a.in(t)
	l.say("-LOADING Redis is loading the dataset in memory\r\n")
	a.closing(t, time.Now())
	for name, says := range map[string]string{
		"LOADING": "-LOADING Redis is loading the dataset in memory\r\n", "MOVED": "-MOVED 3999 127.0.0.1:1\r\n", "ASK": "-ASK 3999 127.0.0.1:1\r\n",
		"OOM": "-OOM command not allowed when used memory > 'maxmemory'.\r\n", "NOAUTH": "-NOAUTH Authentication required.\r\n", "READONLY": "-READONLY You can't write against a read only replica.\r\n",
		"MASTERDOWN": "-MASTERDOWN Link with MASTER is down\r\n", "CLUSTERDOWN": "-CLUSTERDOWN Hash slot not served\r\n", "BUSY": "-BUSY Redis is busy running a script.\r\n",
		"MISCONF": "-MISCONF Errors writing to the AOF file\r\n", "TRYAGAIN": "-TRYAGAIN Multiple keys request during rehashing of slot\r\n", "WRONGTYPE": "-WRONGTYPE Operation against a key\r\n",
		"OK": "+OK\r\n", "one": ":1\r\n", "nil": "$-1\r\n", "empty text": "$0\r\n\r\n", "empty list": "*0\r\n", "a list of one": "*1\r\n:1\r\n", "found and empty": "*2\r\n:1\r\n$0\r\n\r\n",
		"found and garbage": "*2\r\n:1\r\n$7\r\ngarbage\r\n", "a list without end": "*2147483647\r\n:1\r\n", "a text without end": "$536870912\r\nx", "a huge length": "$99999999999999999999\r\n",
		"a negative length": "*-7\r\n", "deep": strings.Repeat("*1\r\n", 10_000) + ":1\r\n", "HTTP": "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "zeros": strings.Repeat("\x00", 100), "many answers": strings.Repeat("+OK\r\n", 1000),
	} {
		l.say(says)
		f.Upstream.Forget()
		for _, p := range []*traveller{a, b} {
			began := time.Now()
			got := p.twin().send(t, request{})
			switch {
			case got.Status == http.StatusServiceUnavailable && len(got.Header.Values("Set-Cookie")) == 0:
			case got.Status == http.StatusUnauthorized && strings.HasPrefix(name, "found"): // as SE-04
			default:
				t.Errorf("%s: got %s with the cookies %q, want 503 and none", name, got, got.Header.Values("Set-Cookie"))
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: it took %s, want half a second", name, took)
			}
		}
		f.nothingReached(t)
	}
	if kb := residentKB(t, f.Process.PID()); kb > 400<<10 {
		t.Errorf("the program has %d KiB of memory", kb)
	}
	l.say("")
	a.open(t)
	b.open(t)
	f.Upstream.Forget()
	b.twin().send(t, request{})
	head, _ := f.reached(t)
	exactly(t, head, "X-Auth-Sub", "bob000000000")
}
