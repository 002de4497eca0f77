package catalogue_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

// decided is one line of the access log.
type decided struct {
	Msg, Method, Path, Decision string
	RequestID                   string `json:"request_id"`
	Status                      int
}

// decisions are the lines of the access log by the identifier that the request has at the application.
func (f *front) decisions(t *testing.T) map[string]decided {
	t.Helper()
	out := map[string]decided{}
	for line := range strings.Lines(f.Log.String()) {
		var d decided
		if json.Unmarshal([]byte(line), &d) == nil && d.Msg == "request" && d.RequestID != "" {
			out[d.RequestID] = d
		}
	}
	return out
}

// messages reads what reached the upstream since the last Forget in every way, and fails when two readers disagree or
// one finds a request that the gateway has not let in. It returns the requests, connection by connection.
func (f *front) messages(t *testing.T) (all []gatewaytest.Message) {
	t.Helper()
	for _, stream := range f.Upstream.Connections() {
		strict, err := gatewaytest.Strict.Read(stream)
		if err != nil && !errors.Is(err, gatewaytest.ErrIncomplete) {
			t.Errorf("a strict reader: %v", err)
			continue
		}
		for _, reading := range gatewaytest.Lenient {
			other, err := reading.Read(stream)
			if err != nil && !errors.Is(err, gatewaytest.ErrIncomplete) {
				t.Errorf("a reader that is %s: %v", reading.Name, err)
			}
			if !slices.Equal(other, strict) {
				t.Errorf("a reader that is %s finds %.2000s, a strict one %.2000s", reading.Name, fmt.Sprintf("%#v", other), fmt.Sprintf("%#v", strict))
			}
		}
		all = append(all, strict...)
	}
	var log map[string]decided
	id := func(m gatewaytest.Message) string {
		return strings.Join(gatewaytest.Header(m.Head, "X-Request-Id"), " and ")
	}
	gatewaytest.Await(t, "the log has a line for each request that reached the upstream", func() bool {
		log = f.decisions(t)
		return !slices.ContainsFunc(all, func(m gatewaytest.Message) bool { return log[id(m)].Msg == "" })
	})
	for _, m := range all {
		d, want := log[id(m)], ""
		if want = d.Method + " " + strings.TrimPrefix(d.Path, "http://"+f.host); d.Decision != "allow" || cutQuery(line(m.Head)) != want {
			t.Errorf("the upstream got %q, of which the log says %+v", line(m.Head), d)
		}
	}
	return all
}

// cutQuery is method and path of a request line.
func cutQuery(line string) string {
	line = strings.TrimSuffix(line, " HTTP/1.1")
	line, _, _ = strings.Cut(line, "?")
	return line
}

// smugglingCorpus sends every payload on a connection of its own, and asks for something else afterwards.
func smugglingCorpus(t *testing.T, d *doors) {
	for name, f := range map[string]*front{"plain": d.Plain(), "in TLS": d.TLS()} {
		t.Run(name, func(t *testing.T) {
			f.Upstream.Forget()
			all := smuggling(t, f.host)
			differ := 0
			for _, p := range all {
				strict, err := gatewaytest.Strict.Read(p.Text)
				if slices.ContainsFunc(gatewaytest.Lenient, func(r gatewaytest.Reading) bool {
					other, otherErr := r.Read(p.Text)
					return !slices.Equal(other, strict) || (err == nil) != (otherErr == nil)
				}) {
					differ++
				}
			}
			if differ < len(all)/2 {
				t.Errorf("readers disagree about %d of %d payloads: want half of them at least", differ, len(all))
			}
			next := make(chan payload)
			var wait sync.WaitGroup
			for range 32 {
				wait.Go(func() {
					for p := range next {
						f.smuggle(t, p)
					}
				})
			}
			for _, p := range all {
				next <- p
			}
			close(next)
			wait.Wait()
			found := f.messages(t)
			follow := 0
			for _, m := range found {
				if strings.Contains(line(m.Head), "/public/next") {
					follow++
				}
				if !strings.HasPrefix(line(m.Head)[strings.IndexByte(m.Head, ' ')+1:], "/public") {
					t.Errorf("%q reached the upstream", line(m.Head))
				}
			}
			if follow != len(all) {
				t.Errorf("%d of the %d requests behind the payloads reached the upstream", follow, len(all))
			}
			t.Logf("%d payloads, of which readers disagree about %d; %d requests reached the upstream", len(all), differ, len(found))
			f.Upstream.Forget()
		})
	}
}

// send sends one payload and reads all that comes back.
func (f *front) send(t *testing.T, p payload) {
	c := f.Dial(t)
	defer c.Close()
	c.Send(p.Text)
	method, _, _ := strings.Cut(strings.TrimLeft(p.Text, "\r\n"), " ")
	var got []string
	for {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // more comes at once, or not at all
		a := c.Answer(method)
		if a.Status == 0 {
			break
		}
		got = append(got, a.String())
		if a.Close {
			break
		}
		method = "GET"
	}
	t.Logf("%s: %v", p.Name, got)
}

// smuggle sends one payload, and asks for something on a connection of its own.
func (f *front) smuggle(t *testing.T, p payload) {
	f.send(t, p)
	if a := f.Raw(t, "GET /public/next HTTP/1.1\r\nHost: "+f.host+"\r\n\r\n"); a.Status != 200 || !strings.Contains(a.Body, "the application") {
		t.Errorf("%s: the next request got %s", p.Name, a)
	}
}
