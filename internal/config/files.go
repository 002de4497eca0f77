package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
)

// maxSecret is how large a file with one secret may be.
const maxSecret = 64 << 10

// readSecrets reads the secrets that stand in files of their own.
func (d *decoder) readSecrets(c *Config) { d.secretsIn(d.root, valueOf(c), "", c) }

func (d *decoder) secretsIn(k *key, v reflect.Value, path string, c *Config) {
	for _, f := range k.fields {
		below, value := join(path, f.name), v.Field(f.index)
		switch f.kind {
		case section:
			d.secretsIn(f, value, below, c)
		case list:
			for i := range value.Len() {
				d.secretsIn(f, value.Index(i), fmt.Sprintf("%s[%d]", below, i), c)
			}
		case secret:
			d.secretOf(k, f, v, path, c)
		}
	}
}

// secretOf settles the pair of a secret and the name of its file. Both at once are refused, unless one stands higher: then
// that one counts, as everywhere.
func (d *decoder) secretOf(k, f *key, v reflect.Value, path string, c *Config) {
	value, name := v.Field(f.index), v.Field(k.field(f.file).index)
	valuePath, filePath := join(path, f.name), join(path, f.file)
	if name.String() == "" || !d.ok(valuePath) || !d.ok(filePath) {
		return
	}
	if value.Interface().(Secret).IsSet() {
		switch valueAt, fileAt := d.placeOf(valuePath), d.placeOf(filePath); {
		case valueAt > fileAt:
			name.SetString("")
			return
		case valueAt == fileAt:
			d.problem(filePath, "is there together with %s; keep one of them", valuePath)
			return
		}
	}
	content, err := readLimited(name.String(), maxSecret)
	if d.setup && filePath == "logto.app_secret_file" && (errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(content)) == 0) {
		return // setup writes it
	}
	if err != nil {
		d.problem(filePath, "%s: %s", quote(name.String()), readError(err, "64 KiB"))
		return
	}
	if len(bytes.TrimSpace(content)) == 0 {
		d.problem(filePath, "%s: the file is empty; write the secret into it", quote(name.String()))
		return
	}
	parsed, err := parseSecret(string(content))
	if err != nil {
		d.problem(filePath, "%s: the content %s", quote(name.String()), err.Error())
		return
	}
	value.Set(reflect.ValueOf(parsed))
	c.secretFiles = append(c.secretFiles, name.String())
	d.warnAboutMode(filePath, name.String())
}

func (d *decoder) placeOf(path string) place {
	if s := d.places[path]; s != nil {
		return s.place
	}
	return inDefaults
}

// warnAboutMode warns about a file with a secret that others can read or change.
func (d *decoder) warnAboutMode(path, name string) {
	if message := looseMode(name); message != "" {
		d.warn(path, "%s %s", quote(name), message)
	}
}

// holdsSecret says whether anything of the value has to stay unseen.
func (s Secret) holdsSecret(k *key) bool {
	return s.IsSet() && (k.print == nil || k.print(s.Reveal()) != s.Reveal())
}

func looseMode(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	switch mode := info.Mode().Perm(); {
	case mode&0o022 != 0:
		return fmt.Sprintf("holds a secret and can be changed by other users (mode %04o); run chmod 600 on it", mode)
	case mode&0o004 != 0:
		return fmt.Sprintf("holds a secret and can be read by every user (mode %04o); run chmod 600 on it", mode)
	}
	return ""
}

// warnAboutFile warns about a configuration file that has secrets in it and is open to others.
func (d *decoder) warnAboutFile(c *Config) {
	if c.File == "" {
		return
	}
	if _, err := os.Stat(c.File); errors.Is(err, fs.ErrNotExist) {
		return
	}
	var inline []string // paths of the secrets
	var visit func(k *key, v reflect.Value, path string)
	visit = func(k *key, v reflect.Value, path string) {
		for _, f := range k.fields {
			below, value := join(path, f.name), v.Field(f.index)
			switch f.kind {
			case section:
				visit(f, value, below)
			case list:
				for i := range value.Len() {
					visit(f, value.Index(i), fmt.Sprintf("%s[%d]", below, i))
				}
			case secret:
				if value.Interface().(Secret).holdsSecret(f) && d.placeOf(below) == inFile && v.Field(k.field(f.file).index).String() == "" {
					inline = append(inline, below)
				}
			}
		}
	}
	visit(d.root, valueOf(c), "")
	message := looseMode(c.File)
	if message == "" {
		return
	}
	for _, path := range inline {
		d.warn(path, "the configuration file %s", message)
	}
}
