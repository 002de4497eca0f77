// Package importer writes a configuration of Portero from that of another proxy: oauth2-proxy, traefik-forward-auth or
// vouch. It owns the reading of their files, flags and variables, and which option of theirs is which key of ours.
//
// It calls nobody, and decides nothing that only an operator knows: that comes in [Options], or is told as a [Note].
//
// Invariants:
//   - What comes out lets in nobody whom the other proxy kept out. What cannot be said exactly stays protected.
//   - Every option that was set is either in the result or in a note; none is dropped in silence.
//   - No value of an option that may be a secret is in the result or in a note.
//   - What package config refuses is not in the result, save names of files that are not there yet.
//   - The same input gives the same bytes.
package importer

import (
	"errors"
	"strings"
	"unicode"
)

// Options is what the other proxy's configuration does not say.
type Options struct {
	// ExternalURL is how browsers reach Portero. Empty: what the other configuration says, if it does.
	ExternalURL string
	// LogtoEndpoint is the address of the Logto tenant. Empty: a note asks for it.
	LogtoEndpoint string
	// AppID is Logto's application. Empty: a note says how it is made.
	AppID string
	// Upstreams are the applications where the other proxy does not know them, because it only answers another proxy's
	// questions. // :: host → URL; under "" that of all other hosts
	Upstreams map[string]string
	// AskedBy are the addresses of proxies that go on asking about requests, of applications that are not among Upstreams.
	AskedBy []string
	// EmailDomains are the domains that come in where the other proxy let in everybody who could sign in. Empty: a note.
	EmailDomains []string
	// ReadFile reads a file that the other configuration names. nil: none is read.
	ReadFile func(name string) ([]byte, error)
	// Dir is what names of files in the result are relative to. Empty: the process's folder.
	Dir string
}

// Input is what the other proxy is configured by. Flags stand over variables, variables over the file.
type Input struct {
	Name   string   // of the file; its ending may tell the format
	Config []byte   // the main file. nil: none
	Alpha  []byte   // oauth2-proxy's structured configuration in YAML. nil: none
	Env    []byte   // lines of KEY=VALUE. nil: none
	Args   []string // flags of its command line
}

// Result is the configuration and what is not in it.
type Result struct {
	YAML  []byte
	Notes []Note // in the order in which they are best read
}

// Note is one thing that the configuration does not say, and what to do instead.
type Note struct {
	Option string // of the other proxy, or the key of ours that is missing
	Text   string // one sentence
}

func (n Note) String() string { return n.Option + ": " + n.Text }

// Comments are the notes as comments of YAML.
func (r *Result) Comments() []byte {
	if len(r.Notes) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("# What has no counterpart, or is still to be done:\n")
	for _, n := range r.Notes {
		b.WriteString("#   " + n.String() + "\n")
	}
	b.WriteString("\n")
	return []byte(b.String())
}

// plain is a text without what would end a comment or command a terminal, cut after so many characters.
func plain(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most-1]) + "…"
	}
	return strings.TrimSpace(s)
}

const maxInput = 1 << 20

var errNotText = errors.New("is larger than 1 MiB, or not UTF-8; save it as UTF-8")
