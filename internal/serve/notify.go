package serve

import (
	"fmt"
	"net"
	"os"
)

// The states that systemd is told, see sd_notify(3). Reloading makes a third.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Reloading is the state to notify when a reload begins; Ready follows when it
// has ended. It carries the time, as systemd's Type=notify-reload wants it.
func Reloading() string {
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonicMicroseconds())
}

// Notify tells the service manager a state. It does nothing when no manager
// asked for it (NOTIFY_SOCKET is not set).
func Notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// A leading @ names an abstract socket; net knows the notation.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	return nil
}
