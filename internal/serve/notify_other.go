//go:build !linux

package serve

// monotonicMicroseconds is asked for by systemd alone, which is Linux alone.
func monotonicMicroseconds() int64 { return 0 }
