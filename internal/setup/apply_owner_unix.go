//go:build unix

package setup

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// giveTo gives a file to the owner of the one whose place it takes: a gateway that runs as somebody else than setup has to
// read it.
func giveTo(f *os.File, before fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner, known := before.Sys().(*syscall.Stat_t)
	mine, too := info.Sys().(*syscall.Stat_t)
	if !known || !too || owner.Uid == mine.Uid {
		return nil
	}
	if f.Chown(int(owner.Uid), int(owner.Gid)) != nil {
		return errors.New("belongs to another user; run the command as that user")
	}
	return nil
}
