package config

import (
	"strings"
)

// suggest says what to write instead of a key that does not exist in a section.
func (d *decoder) suggest(k *key, name string) string {
	var candidates []string
	for _, f := range k.fields {
		candidates = append(candidates, f.name)
	}
	if near := nearest(name, candidates); near != "" {
		return "did you mean " + near + "?"
	}
	if elsewhere := d.root.find(name); elsewhere != "" {
		return "write it as " + elsewhere
	}
	return "remove it, or write one of " + strings.Join(candidates, ", ")
}

// find gives the path of the one key of this name, "" if there are none or several.
func (k *key) find(name string) string {
	found, several := "", false
	var visit func(*key)
	visit = func(k *key) {
		for _, f := range k.fields {
			if f.name == name {
				several = several || found != ""
				found = f.path
			}
			visit(f)
		}
	}
	visit(k)
	if several {
		return ""
	}
	return found
}

// nearest is the candidate that was probably meant; "" if none is near.
func nearest(name string, candidates []string) string {
	fold := strings.NewReplacer("-", "", "_", "", " ", "", ".", "")
	name = fold.Replace(strings.ToLower(name))
	best, distance := "", 3
	for _, c := range candidates {
		folded := fold.Replace(strings.ToLower(c))
		limit := min(2, max(1, len(folded)/3))
		if n := edits(name, folded); n <= limit && n < distance {
			best, distance = c, n
		}
	}
	return best
}

// edits counts the insertions, deletions, replacements and swaps of neighbours between two words.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, row := []int(nil), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, make([]int, len(b)+1)
	}
	return last[len(b)]
}
