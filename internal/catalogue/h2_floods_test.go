package catalogue_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"portero/internal/gatewaytest"
)

// mostKiB is what a flood may cost the process. It would take gigabytes if nothing was bounded; the race detector's
// program takes several times what the real one does.
const mostKiB = 192 << 10

// flooded opens a connection over HTTP/2 and lets send write to it as often as it says, or until the gateway has given
// it up. Memory stays bounded meanwhile, and others are served as ever. It returns why the gateway gave it up.
func (w way) flooded(t *testing.T, name string, times int, send func(c *gatewaytest.HTTP2Conn, i int) error) (why string) {
	t.Helper()
	pid := w.Process.PID()
	before, most := residentKB(t, pid), 0
	c := w.DialHTTP2(t, gatewaytest.Dialing{})
	c.SetDeadline(time.Now().Add(45 * time.Second))
	ended := make(chan string, 1)
	go func() { ended <- c.Ends() }()
	sent := 0
	for ; sent < times; sent++ {
		if err := send(c, sent); err != nil {
			break
		}
		if sent%1000 == 0 {
			most = max(most, residentKB(t, pid)-before)
		}
	}
	c.Framer().WritePing(false, gatewaytest.Marker)
	why = <-ended
	most = max(most, residentKB(t, pid)-before)
	if most > mostKiB {
		t.Errorf("%s: %d KiB more, want %d at most", name, most, mostKiB)
	}
	if a := (way{front: w.front, h2: true}).ask(t, request{Target: "/_portero/healthz"}); a.Status != http.StatusOK {
		t.Errorf("%s: another connection got %s", name, a)
	}
	c.Close()
	t.Logf("%s: %d of %d sent, %d KiB more, given up: %q", name, sent, times, most, why)
	return why
}

// waiting is an application that answers nobody and counts who waits. A request waits until its connection is closed.
type waiting struct{ now, most, all atomic.Int64 }

func (a *waiting) take(_ string, r *bufio.Reader, _ net.Conn) bool {
	n := a.now.Add(1)
	a.all.Add(1)
	for {
		most := a.most.Load()
		if n <= most || a.most.CompareAndSwap(most, n) {
			break
		}
	}
	r.Peek(1)
	a.now.Add(-1)
	return false
}

func rapidReset(t *testing.T, d *doors) {
	d.http2(t, func(t *testing.T, w way) {
		app := &waiting{}
		w.Upstream.Take(app.take)
		defer w.Upstream.Take(nil)
		start := w.start()
		w.flooded(t, "reset at once", 20_000, func(c *gatewaytest.HTTP2Conn, _ int) error {
			stream := c.Open(start, true)
			return c.Framer().WriteRSTStream(stream, http2.ErrCodeCancel)
		})
		// What the gateway has let go may not have noticed it yet: that is why these are not exactly so many.
		if most := app.most.Load(); most > 2*maxStreams {
			t.Errorf("%d requests at the application at once, want about %d at most", most, maxStreams)
		}
		gatewaytest.Await(t, "nobody waits at the application", func() bool { return app.now.Load() == 0 })
		app.most.Store(0)
		app.all.Store(0)

		// Without resets the bound is exact.
		c := w.DialHTTP2(t, gatewaytest.Dialing{})
		for range 2 * maxStreams {
			c.Open(start, true)
		}
		gatewaytest.Await(t, fmt.Sprintf("%d requests wait", maxStreams), func() bool { return app.now.Load() == maxStreams })
		if a := (way{front: w.front, h2: true}).ask(t, request{Target: "/_portero/healthz"}); a.Status != http.StatusOK {
			t.Errorf("another connection got %s", a)
		}
		if most := app.most.Load(); most != maxStreams {
			t.Errorf("%d requests reached the application, want %d", most, maxStreams)
		}
		c.Close()
		gatewaytest.Await(t, "nobody waits at the application", func() bool { return app.now.Load() == 0 })
		w.Upstream.Forget()
	})
}

func endlessHeads(t *testing.T, d *doors) {
	d.http2(t, func(t *testing.T, w way) {
		start := w.start()
		field := func(i, size int) [][2]string {
			return fieldsOf(fmt.Sprintf("x-%d", i), strings.Repeat("a", size))
		}
		begin := func(c *gatewaytest.HTTP2Conn, block []byte) error {
			return c.Framer().WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
		}
		if why := w.flooded(t, "CONTINUATION of 16 KB", 10_000, func(c *gatewaytest.HTTP2Conn, i int) error {
			if i == 0 {
				return begin(c, c.Block(start))
			}
			return c.Framer().WriteContinuation(1, false, c.Block(field(i, 15_000)))
		}); why == "" {
			t.Error("CONTINUATION of 16 KB: the connection was not given up")
		}
		for name, piece := range map[string]func(c *gatewaytest.HTTP2Conn, i int) []byte{
			"CONTINUATION of nothing":        func(*gatewaytest.HTTP2Conn, int) []byte { return nil },
			"CONTINUATION of one header":     func(c *gatewaytest.HTTP2Conn, i int) []byte { return c.Block(field(i, 1)) },
			"CONTINUATION of a table's size": func(*gatewaytest.HTTP2Conn, int) []byte { return []byte{0x20} },
		} {
			w.flooded(t, name, 20_000, func(c *gatewaytest.HTTP2Conn, i int) error {
				if i == 0 {
					return begin(c, c.Block(start))
				}
				return c.Framer().WriteContinuation(1, false, piece(c, i))
			})
		}
		w.nothingReached(t)
		// A header of 4 KB that stands in the table, named 15,000 times by one byte: sixty megabytes in one frame.
		bomb := func(c *gatewaytest.HTTP2Conn) []byte {
			return append(c.Block(with(start, "x", strings.Repeat("a", 4000))), []byte(strings.Repeat("\xbe", 11_000))...)
		}
		w.flooded(t, "HPACK bombs", 200, func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: bomb(c), EndStream: true, EndHeaders: true})
		})
		w.nothingReached(t)
		var broken sync.WaitGroup
		for name, block := range map[string]string{
			"an index beyond the table": "\xff\xff\xff\xff\x0f", "an index of nothing": "\x80", "an endless number": "\xff" + strings.Repeat("\xff", 100), "a table beyond what was agreed": "\x3f\xff\xff\xff\x0f",
			"a text beyond the frame": "\x00\x7f\xff\xff\x0f", "Huffman that is none": "\x00\x81\xff\x81\xff", "half a header": "\x00\x05ab",
		} {
			broken.Go(func() { // the gateway takes a second to give a connection up
				why := w.flooded(t, name, 1, func(c *gatewaytest.HTTP2Conn, _ int) error {
					err := c.Framer().WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte(block), EndStream: true, EndHeaders: true})
					c.Framer().WritePing(false, [8]byte{1})
					return err
				})
				if why != "COMPRESSION_ERROR" && why != "PROTOCOL_ERROR" {
					t.Errorf("%s: given up with %q, want COMPRESSION_ERROR or PROTOCOL_ERROR", name, why)
				}
			})
		}
		broken.Wait()
		w.nothingReached(t)
		for name, q := range map[string]gatewaytest.HTTP2{
			"a header of 128 KiB":     {Fields: with(start, "x-foo", strings.Repeat("a", 128<<10))},
			"five thousand headers":   {Fields: append(append([][2]string(nil), start...), manyFields(5000)...)},
			"a path of 128 KiB":       {Fields: request{Target: "/public/" + strings.Repeat("a", 128<<10)}.http2(w.host).Fields},
			"cookies of 128 KiB":      {Fields: with(start, "cookie", "a="+strings.Repeat("a", 64<<10), "cookie", "b="+strings.Repeat("a", 64<<10))},
			"a method of 128 KiB":     {Fields: request{Method: strings.Repeat("A", 128<<10)}.http2(w.host).Fields},
			"an authority of 128 KiB": {Fields: request{Target: "/public/x"}.http2(strings.Repeat("a", 128<<10)).Fields},
		} {
			if a := w.RawHTTP2(t, q); a.Status != 0 && a.Status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s: got %s, want 431 or the end of the connection", name, a)
			}
			w.nothingReached(t)
		}
	})
}

// manyFields are n small headers.
func manyFields(n int) (out [][2]string) {
	for i := range n {
		out = append(out, [2]string{fmt.Sprintf("x-%d", i), "a"})
	}
	return out
}

func controlFloods(t *testing.T, d *doors) {
	w := way{front: d.TLS(), h2: true, cookie: d.TLS().alice}
	w.Upstream.Forget()
	start := w.start()
	const many = 20_000
	for name, send := range map[string]func(c *gatewaytest.HTTP2Conn, i int) error{
		"settings": func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i % 2 * 4096)})
		},
		"settings of nothing": func(c *gatewaytest.HTTP2Conn, _ int) error { return c.Framer().WriteSettings() },
		"pings":               func(c *gatewaytest.HTTP2Conn, i int) error { return c.Framer().WritePing(false, [8]byte{byte(i)}) },
		"answers to pings":    func(c *gatewaytest.HTTP2Conn, i int) error { return c.Framer().WritePing(true, [8]byte{byte(i)}) },
		"windows":             func(c *gatewaytest.HTTP2Conn, _ int) error { return c.Framer().WriteWindowUpdate(0, 1) },
		"windows beyond all":  func(c *gatewaytest.HTTP2Conn, _ int) error { return c.Framer().WriteWindowUpdate(0, 1<<31-1) },
		"priorities": func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: uint32(2*i + 3), Weight: byte(i)})
		},
		"frames nobody knows": func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WriteRawFrame(http2.FrameType(0x20+i%64), 0, 0, make([]byte, 1024))
		},
		"resets of streams that are none": func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
		},
		"bodies of nothing": func(c *gatewaytest.HTTP2Conn, i int) error {
			if i == 0 {
				c.Open(request{Method: "POST", Target: "/public/x"}.http2(w.host).Fields, false)
			}
			return c.Framer().WriteData(1, false, nil)
		},
		"bodies of padding": func(c *gatewaytest.HTTP2Conn, i int) error {
			if i == 0 {
				c.Open(request{Method: "POST", Target: "/public/x"}.http2(w.host).Fields, false)
			}
			return c.Framer().WriteDataPadded(1, false, nil, make([]byte, 200))
		},
		"streams that end": func(c *gatewaytest.HTTP2Conn, i int) error {
			c.Open(request{Target: "/_portero/healthz"}.http2(w.host).Fields, true)
			return c.Framer().WriteWindowUpdate(0, 1)
		},
		"streams that depend on themselves": func(c *gatewaytest.HTTP2Conn, i int) error {
			return c.Framer().WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: c.Block(start), EndStream: true, EndHeaders: true, Priority: http2.PriorityParam{StreamDep: uint32(2*i + 1)}})
		},
	} {
		t.Run(name, func(t *testing.T) { w.flooded(t, name, many, send) })
	}
	w.Upstream.Forget()

	// Somebody who asks for everything and takes nothing: what the application sends stays with the application.
	t.Run("a window of nothing", func(t *testing.T) {
		w.Upstream.Say(func(string) string {
			return "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n" + strings.Repeat("a", 1<<20)
		}, false)
		defer w.Upstream.Say(nil, false)
		w.flooded(t, "a window of nothing", 1000, func(c *gatewaytest.HTTP2Conn, i int) error {
			if i == 0 {
				c.Framer().WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			}
			c.Open(start, true)
			return nil
		})
		if n := len(w.Upstream.Requests()); n > maxStreams {
			t.Errorf("%d requests reached the application, want %d at most", n, maxStreams)
		}
		gatewaytest.Await(t, "nothing is left at the application", func() bool { return w.Upstream.Open() < 2*maxStreams })
		w.Upstream.Forget()
	})
	t.Run("windows of one byte", func(t *testing.T) {
		want := "0123456789the application"
		w.Upstream.Say(func(string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(want), want)
		}, false)
		defer w.Upstream.Say(nil, false)
		c := w.DialHTTP2(t, gatewaytest.Dialing{})
		c.Framer().WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		if got := c.Data(c.Open(start, true), len(want)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		c.Close()
		w.Upstream.Forget()
	})
}
