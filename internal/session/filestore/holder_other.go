//go:build !linux

package filestore

// holder says who most likely has the file locked; only Linux tells.
func holder(string) string {
	return "another process (another portero, or one that is still stopping)"
}
