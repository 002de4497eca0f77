//go:build !unix

package setup

import (
	"io/fs"
	"os"
)

// giveTo does nothing: owners are not told apart here.
func giveTo(*os.File, fs.FileInfo) error { return nil }
