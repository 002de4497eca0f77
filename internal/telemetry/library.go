package telemetry

import (
	"io"
	"log/slog"
	"strings"
)

// LibraryLog takes what libraries print with the standard library's log.Print. net/http quotes there what an upstream
// has said too much, which may be somebody's page: what it quotes is left out.
func LibraryLog(log *slog.Logger) io.Writer { return libraryLog{log} }

type libraryLog struct{ log *slog.Logger }

func (l libraryLog) Write(line []byte) (int, error) {
	text, _, cut := strings.Cut(strings.TrimRight(string(line), "\n"), " starting with ")
	if cut {
		text += " (not shown)"
	}
	l.log.Info("a library says", "message", text)
	return len(line), nil
}
