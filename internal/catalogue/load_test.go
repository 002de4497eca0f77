package catalogue_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// peer is an application that speaks bytes.
type peer struct {
	addr  string
	opens atomic.Int64 // connections so far
	open  atomic.Int64 // connections at this moment
}

// newPeer starts one on a loopback port: serve has each connection, which closes when it returns. All end with the test.
func newPeer(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{addr: l.Addr().String()}
	var mu sync.Mutex
	var all sync.WaitGroup
	conns := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			p.opens.Add(1)
			p.open.Add(1)
			all.Go(func() {
				serve(c, bufio.NewReader(c))
				c.Close()
				p.open.Add(-1)
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return p
}

// readHead reads up to the empty line, which is not part of what it returns.
func readHead(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		l, err := r.ReadString('\n')
		if err != nil || l == "\r\n" {
			return head.String(), err
		}
		head.WriteString(l)
	}
}

// holding is what a process holds.
type holding struct{ kb, files, goroutines int }

// holds is what the program holds at this moment.
func (f *front) holds(t *testing.T) holding {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", f.Process.PID()))
	if err != nil {
		gatewaytest.Lacks(t, "no /proc on this machine")
	}
	return holding{kb: residentKB(t, f.Process.PID()), files: len(files), goroutines: int(f.metric(t, "go_goroutines"))}
}

// metric is a number of the program's without labels.
func (f *front) metric(t *testing.T, name string) float64 {
	t.Helper()
	for l := range strings.Lines(f.Admin(t, http.MethodGet, "/metrics").Text) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// emptied waits until the program holds as many files and goroutines as before, but for a few that others leave.
func (f *front) emptied(t *testing.T, before holding) {
	t.Helper()
	const few = 12 // the connections of whoever asks for the numbers, and pooled ones
	now := holding{}
	gatewaytest.Await(t, "nothing is left of it", func() bool {
		now = f.holds(t)
		return now.files <= before.files+few && now.goroutines <= before.goroutines+3*few
	})
}

// peak watches the memory of a program while run runs: it is by how many KiB that grew at most.
func (f *front) peak(t *testing.T, run func()) int {
	t.Helper()
	pid := f.Process.PID()
	before, most := residentKB(t, pid), 0
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, residentKB(t, pid))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	run()
	close(done)
	<-stopped
	return most - before
}

// flat fails when memory grew by more than that.
func flat(t *testing.T, what string, grew, mostMB int) {
	t.Helper()
	if grew > mostMB<<10 {
		t.Errorf("memory grew by %d KiB %s, want %d MiB at most", grew, what, mostMB)
	}
}

// median is how long somebody's requests take, as a rule; all of them have to be answered well.
func (w way) median(t *testing.T, n int, q request) time.Duration {
	t.Helper()
	var took []time.Duration
	for range n {
		began := time.Now()
		if a := w.ask(t, q); a.Status != http.StatusOK {
			t.Fatalf("somebody else's request: got %s, want 200", a)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[n/2]
}

// stalled are connections on which somebody takes their time.
type stalled struct {
	t     *testing.T
	name  string
	conns []net.Conn
	began []time.Time
	ended []time.Duration // :: connection → after how long it was closed from the other side
	said  []string        // :: connection → what came before that
	wait  sync.WaitGroup
}

// add takes over a connection that was begun at that time, before the server could know of it, and sets its deadlines.
func (s *stalled) add(c net.Conn, began time.Time) {
	s.conns, s.began, s.ended, s.said = append(s.conns, c), append(s.began, began), append(s.ended, 0), append(s.said, "")
	c.SetDeadline(began.Add(2 * time.Minute))
}

// watch begins to wait for their ends. Nothing may be added any more.
func (s *stalled) watch() {
	for n, c := range s.conns {
		s.wait.Go(func() {
			text, _ := io.ReadAll(io.LimitReader(c, 1<<20))
			s.ended[n], s.said[n] = time.Since(s.began[n]), string(text)
			c.Close()
		})
	}
}

// drip sends a byte on each connection from time to time, until all have ended.
func (s *stalled) drip(every time.Duration) {
	done := make(chan struct{})
	go func() { s.wait.Wait(); close(done) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for _, c := range s.conns {
			io.WriteString(c, "a")
		}
	}
}

// endBetween fails unless all were closed in that time, without a word.
func (s *stalled) endBetween(early, late time.Duration) {
	s.t.Helper()
	s.wait.Wait()
	s.t.Logf("%s: closed after %s to %s", s.name, slices.Min(s.ended), slices.Max(s.ended))
	for n, took := range s.ended {
		if took < early || took > late {
			s.t.Errorf("%s: connection %d of %d was closed after %s, want %s to %s", s.name, n, len(s.conns), took, early, late)
			return
		}
		if s.said[n] != "" && !strings.HasPrefix(s.said[n], "\x16") { // of a handshake
			s.t.Errorf("%s: got %q, want nothing", s.name, s.said[n])
			return
		}
	}
}

// upload is a request whose body is written little by little, over either protocol.
type upload struct {
	io.Writer
	answer chan *gatewaytest.Answer // once
	leave  func()
}

// upload begins one. length is what is announced; -1: nothing is.
func (w way) upload(t *testing.T, method, target string, length int64, lines ...string) *upload {
	t.Helper()
	u := &upload{answer: make(chan *gatewaytest.Answer, 1)}
	headers := fieldsOf(append([]string{"Origin", w.URL, "Sec-Fetch-Site", "same-origin"}, lines...)...)
	if w.cookie != "" {
		headers = with(headers, "Cookie", w.cookie)
	}
	if !w.h2 {
		c := w.Dial(t)
		if length >= 0 {
			headers = with(headers, "Content-Length", strconv.FormatInt(length, 10))
		} else {
			headers = with(headers, "Transfer-Encoding", "chunked")
		}
		c.Send(request{Method: method, Target: target, Lines: headers}.text(w.host))
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		u.Writer, u.leave = c, func() { c.Close() }
		if length < 0 {
			u.Writer = chunks{c}
		}
		go func() { u.answer <- c.Answer(method) }()
		return u
	}
	r, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, method, w.URL+target, io.NopCloser(r))
	if err != nil {
		t.Fatal(err)
	}
	q.ContentLength = length
	for _, l := range headers {
		q.Header.Set(l[0], l[1])
	}
	u.Writer = in
	client, gone := w.http2Client(t), make(chan struct{})
	u.leave = func() {
		cancel()
		in.CloseWithError(context.Canceled)
		<-gone
		client.CloseIdleConnections()
	}
	go func() {
		defer close(gone)
		resp, err := client.Do(q)
		r.CloseWithError(io.ErrClosedPipe)
		if err != nil {
			u.answer <- &gatewaytest.Answer{Err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		u.answer <- &gatewaytest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Err: err}
	}()
	return u
}

// end says that the body is whole.
func (u *upload) end() {
	switch w := u.Writer.(type) {
	case chunks:
		io.WriteString(w.Writer, "0\r\n\r\n")
	case *io.PipeWriter:
		w.Close()
	}
}

// answered is the answer, within a minute.
func (u *upload) answered(t *testing.T) *gatewaytest.Answer {
	t.Helper()
	select {
	case a := <-u.answer:
		return a
	case <-time.After(time.Minute):
		t.Fatal("there is no answer")
		return nil
	}
}

// chunks makes a chunk of what is written at once.
type chunks struct{ io.Writer }

func (c chunks) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(c.Writer, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}
