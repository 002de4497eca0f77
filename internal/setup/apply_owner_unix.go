//go:build unix

package setup

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// giveTo gives a file to the owner of the one whose place it takes: a gateway that runs as somebody else than setup has to
// read it. So does one that reads it by its group, as nobody else can.
func giveTo(f *os.File, before fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner, known := before.Sys().(*syscall.Stat_t)
	mine, too := info.Sys().(*syscall.Stat_t)
	switch {
	case !known || !too:
		return nil
	case owner.Uid == mine.Uid && before.Mode().Perm()&0o077 == 0o040:
		if owner.Gid == mine.Gid || f.Chown(-1, int(owner.Gid)) == nil {
			return f.Chmod(0o640)
		}
		return errors.New("is read by a group that you are not in; run the command as root")
	case owner.Uid == mine.Uid:
		return nil
	}
	if f.Chown(int(owner.Uid), int(owner.Gid)) != nil {
		return errors.New("belongs to another user; run the command as that user")
	}
	return nil
}
