package replicas_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// open is a connection that lasts. Ended is closed when it is over; then the other fields may be read.
type open struct {
	Ended chan struct{}
	At    time.Time
	Err   error                // of an event stream: nil, if it ended as it should
	Code  websocket.StatusCode // of a WebSocket: -1 without a close frame

	stop context.CancelFunc
}

// Stop leaves, and waits until that is done.
func (o *open) Stop() {
	o.stop()
	<-o.Ended
}

// events opens the application's event stream on a replica. It has begun when this returns.
func (c *client) events(r *replica) (*open, error) {
	ctx, cancel := context.WithCancel(context.Background())
	req, err := c.request(ctx, r, http.MethodGet, origin+"/events", nil, http.Header{
		"Accept": {"text/event-stream"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Site": {"same-origin"},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	timeout := time.AfterFunc(patience, cancel)
	resp, err := c.site.single.Do(req)
	if err != nil {
		cancel()
		return nil, err
	}
	lines := bufio.NewReader(resp.Body)
	first, err := lines.ReadString('\n')
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.Contains(first, "user="+c.Subject)) {
		err = fmt.Errorf("event stream: %s %q", resp.Status, first)
	}
	if err != nil {
		resp.Body.Close()
		cancel()
		return nil, err
	}
	timeout.Stop()
	o := &open{Ended: make(chan struct{}), stop: cancel}
	go func() {
		defer close(o.Ended)
		defer cancel()
		defer resp.Body.Close()
		_, o.Err = io.Copy(io.Discard, lines)
		o.At = time.Now()
	}()
	return o, nil
}

// echo opens a WebSocket on a replica and goes on sending and receiving. It has answered once when this returns.
func (c *client) echo(r *replica) (*open, error) {
	ctx, cancel := context.WithCancel(context.Background())
	dialling, stop := context.WithTimeout(ctx, patience)
	defer stop()
	req, err := c.request(ctx, r, http.MethodGet, origin+"/ws", nil, http.Header{"Origin": {origin}})
	if err != nil {
		cancel()
		return nil, err
	}
	address := url.URL{Scheme: "ws", Host: req.URL.Host, Path: req.URL.Path}
	conn, _, err := websocket.Dial(dialling, address.String(), &websocket.DialOptions{
		HTTPClient: c.site.single, HTTPHeader: req.Header, Host: req.Host,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	o := &open{Ended: make(chan struct{}), stop: cancel}
	trip := func() error {
		if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			// What the other end said before it went counts, not that it is gone.
			_, _, readErr := conn.Read(ctx)
			return errors.Join(readErr, err)
		}
		_, _, err := conn.Read(ctx)
		return err
	}
	if err := trip(); err != nil {
		conn.CloseNow()
		cancel()
		return nil, err
	}
	go func() {
		defer close(o.Ended)
		defer cancel()
		defer conn.CloseNow()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := trip(); err != nil {
				o.Err, o.At, o.Code = err, time.Now(), websocket.CloseStatus(err)
				return
			}
			<-tick.C
		}
	}()
	return o, nil
}
