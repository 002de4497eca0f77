package route

import (
	"slices"
	"strings"
)

// Bounds on the readings of one path. A path beyond them is refused.
const (
	maxReadings     = 64
	maxReadingBytes = 512 << 10
)

// readings returns what upstreams may take the path for: as received, decoded once or twice, and after any of those
// also with parameters removed, backslashes as slashes, slashes merged, two slashes at the start as the start of an
// authority, or cut at an encoded ? or #, in every order. The first one is Path. Dot segments are resolved in none, because ok is false when any of them has one, or
// when there are too many.
func (t Target) readings() (paths []string, ok bool) {
	type reading struct {
		path    string
		decoded int
	}
	list := []reading{{t.Path, 1}, {decodeNeedful(t.Raw), 0}}
	bytes := len(t.Path) + len(t.Raw)
	add := func(path string, decoded int) {
		for _, r := range list {
			if r.path == path && r.decoded <= decoded {
				return
			}
		}
		list = append(list, reading{path, decoded})
		bytes += len(path)
	}
	for i := 0; i < len(list); i++ {
		if len(list) > maxReadings || bytes > maxReadingBytes || hasDotSegment(list[i].path) {
			return nil, false
		}
		r := list[i]
		paths = append(paths, r.path)
		if r.decoded < 2 {
			add(decode(r.path), r.decoded+1)
		}
		add(dropParameters(r.path), r.decoded)
		add(strings.ReplaceAll(r.path, `\`, "/"), r.decoded)
		add(mergeSlashes(r.path), r.decoded)
		add(dropAuthority(r.path), r.decoded)
		if cut := strings.IndexAny(r.path, "?#"); cut >= 0 {
			add(r.path[:cut], r.decoded)
		}
	}
	return paths, true
}

// Reads reports whether match holds for any path that an upstream may take the target for.
func (t Target) Reads(match func(path string) bool) bool {
	if t.plain {
		return match(t.Path)
	}
	paths, ok := t.readings()
	return ok && slices.ContainsFunc(paths, match)
}

// dropParameters cuts every segment at its first semicolon.
func dropParameters(s string) string {
	next := strings.IndexByte(s, ';')
	if next < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	inside := false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ';':
			inside = true
		case '/':
			inside = false
		}
		if !inside {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func mergeSlashes(s string) string {
	if !strings.Contains(s, "//") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '/' && i > 0 && s[i-1] == '/' {
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// dropAuthority is the path of a reference that begins with two slashes: its first segment names a host for whoever
// resolves it as a URL, as `new URL(req.url, base)` does in Node and parse_url in PHP. However many slashes there are,
// browsers take them for two.
func dropAuthority(s string) string {
	if !strings.HasPrefix(s, "//") {
		return s
	}
	s = strings.TrimLeft(s, "/")
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[i:]
	}
	return "/"
}
