package logto_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"portero/internal/logto"
)

// RT-05: Logto may say when it wants to be asked again.
func TestRT05RetryAfterIsTold(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		status int
		header string
		want   time.Duration
	}{
		"seconds":              {http.StatusTooManyRequests, "30", 30 * time.Second},
		"seconds of an outage": {http.StatusServiceUnavailable, "120", 2 * time.Minute},
		"a date":               {http.StatusTooManyRequests, sent.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		"a date that is past":  {http.StatusTooManyRequests, sent.Add(-time.Minute).Format(http.TimeFormat), 0},
		"nothing":              {http.StatusTooManyRequests, "", 0},
		"nonsense":             {http.StatusTooManyRequests, "soon", 0},
		"negative":             {http.StatusTooManyRequests, "-5", 0},
		"beyond all bounds":    {http.StatusTooManyRequests, "99999999999999999999", 0},
		"not a busy answer":    {http.StatusBadRequest, "30", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, p := stand(t)
			i.set(pathToken, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", sent.Format(http.TimeFormat))
				if c.header != "" {
					w.Header().Set("Retry-After", c.header)
				}
				w.WriteHeader(c.status)
			})
			_, err := p.Refresh(t.Context(), "refresh-1")
			if got := logto.RetryAfter(fmt.Errorf("wrapped: %w", err)); got != c.want {
				t.Errorf("RetryAfter(%v): got %s, want %s", err, got, c.want)
			}
		})
	}
}
