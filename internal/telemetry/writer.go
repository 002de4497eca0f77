package telemetry

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// writer counts what is answered. It has all that the server's own writer has,
// by passing it on, and Unwrap for http.ResponseController.
type writer struct {
	http.ResponseWriter
	status   int // 0: nothing answered yet
	bytes    int64
	hijacked bool
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	// Informational answers come before the one that counts.
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the server's way of sending files without copying them.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	// io.Copy finds the ReadFrom of the writer below, if it has one.
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

// FlushError is what http.ResponseController calls.
func (w *writer) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if err == nil && w.status == 0 {
		w.status = http.StatusOK
	}
	return err
}

// Flush implements http.Flusher, for those who ask for it.
func (w *writer) Flush() { _ = w.FlushError() }

// Hijack hands the connection over. Whoever takes it has answered 101 or will
// close it; nothing after this is counted.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked = true
		if w.status == 0 {
			w.status = http.StatusSwitchingProtocols
		}
	}
	return conn, rw, err
}
