package importer

import (
	"regexp"
	"strings"
	"testing"

	"portero/internal/config"
)

func TestParseRegex(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]pattern{
		`^/path$`:              {"/path", config.MatchExact, true},
		`^/path/$`:             {"/path", config.MatchExact, true},
		`^/path/?$`:            {"/path", config.MatchExact, false},
		`^/$`:                  {"/", config.MatchExact, false},
		`^/a/b\.html$`:         {"/a/b.html", config.MatchExact, true},
		`\A/path\z`:            {"/path", config.MatchExact, true},
		`^(?:/path)$`:          {"/path", config.MatchExact, true},
		`^/path(/|$)`:          {"/path", config.MatchPrefix, false},
		`^/path($|/)`:          {"/path", config.MatchPrefix, false},
		`^/path(?:/|$)`:        {"/path", config.MatchPrefix, false},
		`^/path(/.*)?$`:        {"/path", config.MatchPrefix, false},
		`^/path/`:              {"/path", config.MatchPrefix, true},
		`^/path/.*`:            {"/path", config.MatchPrefix, true},
		`^/path/.*$`:           {"/path", config.MatchPrefix, true},
		`^/.well-known/`:       {},
		`^/\.well-known/`:      {"/.well-known", config.MatchPrefix, true},
		`^/path`:               {},
		`^/path.*`:             {},
		`^/path.*$`:            {},
		`/path$`:               {},
		`/path`:                {},
		`path`:                 {},
		`^path$`:               {},
		`^/path/?`:             {},
		`^/path/*$`:            {},
		`^/path/+$`:            {},
		`^/path.$`:             {},
		`^/pa.h$`:              {},
		`^/robots.txt$`:        {},
		`^/path|/other$`:       {},
		`^(/path|/other)$`:     {},
		`^/(path|other)$`:      {},
		`^/path(/|$)?`:         {},
		`^/path(/|)`:           {},
		`^/path(|/)$`:          {},
		`^/path(/|$)x`:         {},
		`^/path(/|\b)`:         {},
		`^/path\b`:             {},
		`^/path/[^/]+$`:        {},
		`^/path/\d+$`:          {},
		`^/path(/.+)?$`:        {},
		`^/path(.*)?$`:         {},
		`^/path(/.*)$`:         {},
		`^/path(/.*)?`:         {},
		`^/path/(.*)$`:         {},
		`^/path/.+$`:           {},
		`(?i)^/path$`:          {},
		`^/(?i:path)$`:         {},
		`(?m)^/path$`:          {},
		`(?m:^)/path$`:         {},
		`^/path(?m:$)`:         {},
		`^/`:                   {},
		`^/.*`:                 {},
		`^/.*$`:                {},
		`^/(/|$)`:              {},
		`^/?$`:                 {},
		`^//$`:                 {},
		`^/a//b$`:              {},
		`^/path//`:             {},
		`^/a/\.\./b$`:          {},
		`^/a/\./b$`:            {},
		`^/a%2fb$`:             {},
		`^/a;b$`:               {},
		`^/a b$`:               {},
		`^/a\?b$`:              {},
		`^/caf\x{e9}$`:         {},
		`^/\*$`:                {},
		`^/path$|^/`:           {},
		`^$`:                   {},
		`$`:                    {},
		`^`:                    {},
		``:                     {},
		`.*`:                   {},
		`^/path$$`:             {},
		`^^/path$`:             {},
		`[`:                    {},
		`^/(`:                  {},
		`^/a{2}$`:              {},
		`^/path$` + "\n":       {},
		`^/path(/|$)(/|$)`:     {},
		`^/` + "\x00" + `abc$`: {},
	} {
		got, ok := parseRegex(expression)
		if !ok {
			got = pattern{}
		}
		if ok != (want.path != "") || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", expression, got, ok, want)
		}
	}
}

// holds says whether what a pattern means is what the expression matches, on paths around it. Where a slash at the end is
// no difference here, one of the two spellings is enough.
func holds(t testing.TB, expression string, p pattern) {
	t.Helper()
	re := regexp.MustCompile(expression)
	either := func(path string) bool {
		return re.MatchString(path) || re.MatchString(path+"/")
	}
	base := strings.TrimSuffix(p.path, "/")
	if !either(base) && !re.MatchString("/") {
		t.Errorf("%q opens %s, which it does not match", expression, p.path)
	}
	if !p.slash && p.path != "/" && (!re.MatchString(base) || !re.MatchString(base+"/")) {
		t.Errorf("%q opens %s and %s/, and does not match both", expression, base, base)
	}
	for _, below := range []string{"/x", "/x/y", "/%", "/ä", "/x.y/"} {
		if got := re.MatchString(base + below); got != (p.match == config.MatchPrefix) {
			t.Errorf("%q: got %v for %s, which %s %s says otherwise", expression, got, base+below, p.match, p.path)
		}
	}
	for _, beside := range []string{base + "x", base + "-x", "/x" + base, "/x" + base + "/", base + "\u00a0"} {
		if beside != base && p.path != "/" && re.MatchString(beside) {
			t.Errorf("%q matches %s, so %s %s is not exactly it", expression, beside, p.match, p.path)
		}
	}
}

func FuzzParseRegex(f *testing.F) {
	for _, seed := range []string{`^/path$`, `^/path/?$`, `^/path(/|$)`, `^/path/`, `^/path/.*$`, `^/path(/.*)?$`, `^/path`, `^/a\.b$`, `^/a|b$`, `(?i)^/a$`, `^/(a|b)/`, `^/a/(/|$)`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		if p, ok := parseRegex(expression); ok {
			holds(t, expression, p)
		}
	})
}

func FuzzParseRule(f *testing.F) {
	for _, seed := range []string{"Host(`a`) && PathPrefix(`/b`)", "Path(\"/a\") || Method(`GET`)", "((Path(`/a`)))", "!Path(`/a`)", "Path(`/a`) && Query(`a=b`)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		matches, why := parseRule(text)
		if (len(matches) == 0) != (why != "") {
			t.Errorf("%q: got %d alternatives and %q", text, len(matches), why)
		}
		for _, word := range []string{"Headers", "Query", "Regexp", "ClientIP", "!"} {
			if len(matches) > 0 && strings.Contains(text, word+"(") {
				t.Errorf("%q has %s and was read", text, word)
			}
		}
	})
}

func TestShortDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"168h": "168h", "90m": "1h30m", "1m": "1m", "60s": "1m", "61s": "1m1s", "0s": "0s", "10h": "10h", "1h0m1s": "1h0m1s", "600s": "10m"} {
		length, err := readDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := shortDuration(length); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// A flag is one option's.
func TestFlagsAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for option, o := range oauthOptions {
		name := o.flag
		if name == "" {
			name = strings.ReplaceAll(option, "_", "-")
		}
		if seen[name] != "" {
			t.Errorf("--%s is the flag of %s and %s", name, seen[name], option)
		}
		seen[name] = option
	}
	for _, option := range oauthRestrictions {
		if o, known := oauthOptions[option]; !known || o.text != "" {
			t.Errorf("%s restricts, and is not among the options that are read", option)
		}
	}
}
