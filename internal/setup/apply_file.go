package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// writeSecret writes a secret to its file, for its owner alone, who stays the same. Whoever reads the file finds the old
// secret or the new one, each whole. A link is followed.
func writeSecret(name, secret string) error {
	name, err := target(name)
	if err != nil {
		return err
	}
	f, err := temporary(name)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is none after the renaming
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing the client secret: %w", err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("writing the client secret: %w", err)
	}
	if folder, err := os.Open(filepath.Dir(name)); err == nil { // the new name outlives a power cut
		folder.Sync()
		folder.Close()
	}
	return nil
}

// canWrite finds out whether writeSecret will work, before anything is done that needs it.
func canWrite(name string) error {
	name, err := target(name)
	if err != nil {
		return err
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return &FileError{name, errors.New("is no file")}
	}
	f, err := temporary(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// target is the file itself, where the name is a link to it.
func target(name string) (string, error) {
	followed, err := filepath.EvalSymlinks(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name, nil
	case err != nil:
		return "", &FileError{name, err}
	}
	return followed, nil
}

// temporary makes a file beside another, for the same owner alone.
func temporary(name string) (*os.File, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // 0600
	if err != nil {
		return nil, &FileError{name, err}
	}
	if before, err := os.Stat(name); err == nil {
		if err := giveTo(f, before); err != nil {
			return nil, errors.Join(&FileError{name, err}, f.Close(), os.Remove(f.Name()))
		}
	}
	return f, nil
}

// FileError is returned when the file for the client secret cannot be written. Nothing was changed at the tenant.
type FileError struct {
	Name string
	Err  error
}

func (e *FileError) Error() string {
	var path *fs.PathError
	if errors.As(e.Err, &path) {
		return fmt.Sprintf("the file for the client secret %s cannot be written: %v", e.Name, path.Err)
	}
	return fmt.Sprintf("the file for the client secret %s cannot be written: %v", e.Name, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// Hint is what to type.
func (e *FileError) Hint() string {
	return fmt.Sprintf("make the folder %s, or write another file under logto.app_secret_file; whoever runs setup needs to write there", filepath.Dir(e.Name))
}
