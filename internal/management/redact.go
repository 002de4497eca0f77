package management

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds a secret prints without it, whatever the verb, and is logged without it.

func (c Config) Format(f fmt.State, _ rune)       { io.WriteString(f, c.text()) }
func (m *Client) Format(f fmt.State, _ rune)      { io.WriteString(f, m.config.text()) }
func (s Secret) Format(f fmt.State, _ rune)       { io.WriteString(f, s.text()) }
func (c Connector) Format(f fmt.State, _ rune)    { io.WriteString(f, c.text()) }
func (t OneTimeToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.text()) }

func (c Config) LogValue() slog.Value       { return slog.StringValue(c.text()) }
func (m *Client) LogValue() slog.Value      { return slog.StringValue(m.config.text()) }
func (s Secret) LogValue() slog.Value       { return slog.StringValue(s.text()) }
func (c Connector) LogValue() slog.Value    { return slog.StringValue(c.text()) }
func (t OneTimeToken) LogValue() slog.Value { return slog.StringValue(t.text()) }

func (c Config) text() string {
	at := "nowhere"
	if c.Endpoint != nil {
		at = c.Endpoint.Redacted()
	}
	return fmt.Sprintf("management API at %s as %s", at, c.AppID)
}

func (s Secret) text() string       { return fmt.Sprintf("client secret %q (redacted)", s.Name) }
func (c Connector) text() string    { return fmt.Sprintf("connector %s %s (redacted)", c.Factory, c.ID) }
func (t OneTimeToken) text() string { return fmt.Sprintf("one-time token %s (redacted)", t.ID) }
