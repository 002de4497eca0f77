package upstream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"portero/internal/upstream"
)

// SM-13: what an upstream says too much is nobody's answer, however many wait for its connection.
func TestAnswersThatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	const clients, requests = 32, 100
	up := listen(t, func(c net.Conn, _ *bufio.Reader, head string) bool {
		own := header(head, "X-Number")
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", len(own), own)
		return err == nil
	})
	up.heads, up.closed = make(chan string, 4*clients*requests), make(chan struct{}, 4*clients*requests)
	g := start(t, setup{Config: upstream.Config{URLs: urls(up)}})
	g.served = make(chan struct{}, clients*requests)
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() {
			for i := range requests {
				number := fmt.Sprintf("%d-%d", client, i)
				r, _ := http.NewRequestWithContext(t.Context(), "GET", g.URL, nil)
				r.Host = "wiki.example.com"
				r.Header.Set("X-Number", number)
				res, err := g.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK || string(body) != number {
					t.Errorf("%s: got %s with %q (%v)", number, res.Status, body, err)
				}
			}
		})
	}
	wait.Wait()
	g.Client().CloseIdleConnections()
}
