package serve

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// errorLog turns net/http's own messages into records. What any scanner on the
// internet can cause is kept at debug level, so that it cannot fill a disk.
func errorLog(l *slog.Logger, listener string) *log.Logger {
	return log.New(&logWriter{log: l, listener: listener}, "", 0)
}

type logWriter struct {
	log      *slog.Logger
	listener string
}

func (w *logWriter) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	switch {
	case bytes.HasPrefix(line, []byte("http: TLS handshake error")),
		bytes.HasPrefix(line, []byte("http2: ")),
		bytes.HasPrefix(line, []byte("http: URL query contains semicolon")):
		level = slog.LevelDebug
	case bytes.HasPrefix(line, []byte("http: panic serving")):
		level = slog.LevelError
	}
	ctx := context.Background()
	if w.log.Enabled(ctx, level) {
		w.log.LogAttrs(ctx, level, "net/http", slog.String("listener", w.listener),
			slog.String("message", string(bytes.TrimRight(line, "\n"))))
	}
	return len(line), nil
}
