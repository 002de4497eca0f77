package gatewaytest

import (
	"encoding/binary"
	"strings"
)

// needles are strings that are looked for at once: there may be thousands of them, and texts of many megabytes.
type needles struct {
	short []string            // less than needleHead long
	heads map[uint64][]string // the others, by how they begin
	begin [1 << 16]bool       // whether any begins with bytes of that hash
}

const needleHead = 8

func newNeedles(values []string) *needles {
	n := &needles{heads: map[uint64][]string{}}
	for _, v := range values {
		switch {
		case len(v) >= needleHead:
			head := binary.LittleEndian.Uint64([]byte(v[:needleHead]))
			n.heads[head] = append(n.heads[head], v)
			n.begin[hash16(head)] = true
		case v != "":
			n.short = append(n.short, v)
		}
	}
	return n
}

func hash16(head uint64) uint16 { return uint16(head * 0x9e3779b97f4a7c15 >> 48) }

// in calls found with every needle that stands in a text, and where it does first.
func (n *needles) in(text string, found func(needle string, at int)) {
	for _, v := range n.short {
		if at := strings.Index(text, v); at >= 0 {
			found(v, at)
		}
	}
	if len(text) < needleHead || len(n.heads) == 0 {
		return
	}
	seen := map[string]bool{}
	head := binary.LittleEndian.Uint64([]byte("\x00" + text[:needleHead-1]))
	for at := 0; at+needleHead <= len(text); at++ {
		head = head>>8 | uint64(text[at+needleHead-1])<<56
		if !n.begin[hash16(head)] {
			continue
		}
		for _, v := range n.heads[head] {
			if !seen[v] && strings.HasPrefix(text[at:], v) {
				seen[v] = true
				found(v, at)
			}
		}
	}
}
