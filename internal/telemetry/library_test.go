package telemetry_test

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"

	"portero/internal/telemetry"
)

func TestLibraryLogQuotesNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	library := log.New(telemetry.LibraryLog(slog.New(slog.NewJSONHandler(&out, nil))), "", 0)
	library.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", "HTTP/1.1 200 OK\r\n\r\nsecret", nil)
	library.Print("something else")
	if got := out.String(); strings.Contains(got, "secret") || !strings.Contains(got, "Unsolicited response") || !strings.Contains(got, "something else") {
		t.Errorf("got %s, want both lines without what was quoted", got)
	}
}
