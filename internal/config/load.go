package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Options says where a configuration comes from.
type Options struct {
	// Path is the file. Empty: none.
	Path string
	// Text is read instead of the file; Path still names it in messages and anchors relative names. nil: the file is read.
	Text []byte
	// Env has the variables as os.Environ returns them. nil: none.
	Env []string
	// Flags has the flags that AddFlags added; only those that were given count. nil: none.
	Flags *pflag.FlagSet
	// WorkDir anchors the names in a configuration without a file, and Path itself. Empty: the process's.
	WorkDir string
	// Only names the sections of the top level that are read and checked; everything else has its default. nil: all.
	Only []string
	// Setup is for setting up the tenant: logto.app_id and logto.app_secret may be missing, and the file of
	// logto.app_secret_file may not be there or be empty, since setup makes them; logto.management is required.
	Setup bool
}

// Load reads a configuration: flag over environment over file over default. Its error is Problems, with everything that is
// wrong.
func Load(o Options) (*Config, error) {
	if o.WorkDir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, Problems{{Message: "the working folder cannot be found: " + err.Error()}}
		}
		o.WorkDir = dir
	}
	d := newDecoder(o)
	file := d.readFile(o)
	environment := d.readEnvironment(o.Env)
	if d.unreadable {
		return nil, Problems(sorted(d.problems))
	}

	v := viper.New()
	d.root.leaves(func(k *key) { v.SetDefault(k.path, k.standard()) })
	err := errors.Join(v.MergeConfigMap(file), v.MergeConfigMap(environment))
	d.root.leaves(func(k *key) {
		if o.Flags == nil || !k.flag {
			return
		}
		if f := o.Flags.Lookup(k.flagName()); f != nil {
			err = errors.Join(err, v.BindPFlag(k.path, f))
		}
	})
	if err != nil {
		return nil, Problems{{Message: "the sources cannot be merged: " + err.Error()}}
	}

	c := &Config{}
	d.decodeSection(d.root, valueOf(c), "", func(k *key) *setting {
		switch value := v.Get(k.path).(type) {
		case *setting:
			return value
		case string: // viper hands out a flag as its text, and also one that was not given if there is no default
			if o.Flags.Changed(k.flagName()) {
				return textSetting(value, inFlags, "--"+k.flagName())
			}
		}
		return nil
	})
	if o.Path != "" {
		c.File = absolute(o.WorkDir, o.Path)
		d.dir = filepath.Dir(c.File)
	}
	d.finish(c)
	if len(d.problems) > 0 {
		return nil, Problems(sorted(d.problems))
	}
	c.Warnings = sorted(d.warnings)
	c.source, c.places = d.file, d.places
	for _, s := range c.places {
		s.node = nil // where it stood is kept, not what
	}
	return c, nil
}

// AddFlags adds the flags of the configuration: --listen, --external-url and the like.
func AddFlags(flags *pflag.FlagSet) {
	describe().leaves(func(k *key) {
		if k.flag {
			flags.String(k.flagName(), "", strings.ReplaceAll(k.doc, "`", "")) // pflag takes backquotes for the name of the value
		}
	})
}

func absolute(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
