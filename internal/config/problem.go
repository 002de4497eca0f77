package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong, where it stands and what to write instead.
type Problem struct {
	Source  string // name of the file, of the environment variable, or of the flag with its dashes. Empty: nowhere
	Line    int    // in the file; 0 elsewhere
	Key     string // path: routes[0].upstreams[1].url. Empty: the whole file
	Message string // "is missing; write …"; never has a secret's value
	place   place
}

// place orders the problems: those of the file first.
type place int

const (
	inDefaults place = iota
	inFile
	inEnvironment
	inFlags
)

// String is `FILE:LINE: key: message`, `VARIABLE: message` or `--flag: message`.
func (p Problem) String() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source)
		if p.Line > 0 {
			b.WriteString(":" + strconv.Itoa(p.Line))
		}
		b.WriteString(": ")
	}
	if p.Key != "" && p.place != inEnvironment && p.place != inFlags {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything that is wrong with a configuration. It is returned by Load, and by nothing else.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Problem says what is wrong with a key of a configuration that Load found nothing wrong with, for checks that need another
// package. The path is as in routes[0].upstreams[1].url.
func (c *Config) Problem(path, message string) Problem {
	return locate(c.source, c.places, path, message)
}

// sorted orders problems by where they stand and drops what is said twice.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Source, b.Source))
	})
	return slices.CompactFunc(problems, func(a, b Problem) bool { return a.String() == b.String() })
}
