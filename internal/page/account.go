package page

import (
	"cmp"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Account is what a person sees on the own page.
type Account struct {
	Email, Name string
	Sessions    []AccountSession // in any order; the ten that were used last are shown, and how many more there are
	Learned     []LearnedItem    // never tokens. Empty: the section is absent
	Notice      int              // how many sessions the last action ended. 0: no notice

	SignOutURL string // where [Sign out] posts to. Empty: no button
	EndURL     string // where (End) posts id=ID to, and (Sign out everywhere else) others=1. Empty: no buttons
}

// AccountSession is one session of the person.
type AccountSession struct {
	ID, Device         string // Device in words, see the function of that name
	SignedIn, LastUsed time.Time
	This               bool // it is the one that asks
}

// LearnedItem is one thing that applications are told. Label is subject, email, name,
// username, roles or organizations, which have words; any other is shown as it is.
type LearnedItem struct{ Label, Value string }

type accountView struct {
	SessionsTitle, LearnedTitle string
	Sessions                    template.HTML // the rows of the list
	More                        string        // how many are not in it. Empty: none
	Others                      *button
	Learned                     template.HTML // the rows of the list. Empty: the section is absent
}

// maxSessions is how many rows the list has: with more the page would outgrow its weight.
const maxSessions = 10

// escaped is text or the value of an attribute in the rows, which are written here: as with markup, the template would
// take longer over them than over all the rest.
func escaped(text string) template.HTML { return template.HTML(template.HTMLEscapeString(text)) }

// target is the value of a form's action. What is no address, or has a scheme other than http and https, leads nowhere.
func target(address string) template.HTML {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
		return "#"
	}
	return escaped(u.String())
}

// account lists this session first, then the others, newest use first.
func (s *Set) account(a *Account, lang string) *accountView {
	c, now := s.common[lang], s.cfg.Now()
	v := &accountView{SessionsTitle: c.sessions, LearnedTitle: c.learned}
	sessions := slices.Clone(a.Sessions)
	slices.SortStableFunc(sessions, func(x, y AccountSession) int {
		if x.This != y.This {
			if x.This {
				return -1
			}
			return 1
		}
		return cmp.Or(y.LastUsed.Compare(x.LastUsed), y.SignedIn.Compare(x.SignedIn))
	})
	count := len(sessions)
	if rest := count - maxSessions; rest > 0 {
		sessions, v.More = sessions[:maxSessions], fmt.Sprintf(c.more, c.number(rest))
	}
	end := target(a.EndURL)
	var rows strings.Builder
	for _, one := range sessions {
		device := cut(one.Device)
		if device == "" {
			device = c.unknownBrowser
		}
		row := "<li><div><p><strong>" + escaped(device) + "</strong>"
		if one.This {
			row += ` <span class="mark">` + escaped(c.thisDevice) + "</span>"
		}
		var used []span
		for _, p := range s.notes[lang].used {
			switch p.fill {
			case "in":
				used = append(used, c.timeSpan(one.SignedIn, now))
			case "last":
				used = append(used, c.timeSpan(one.LastUsed, now))
			default:
				used = append(used, span{Plain: p.text})
			}
		}
		row += "</p>\n<p class=\"small\">" + markup(used) + "</p></div>"
		if a.EndURL != "" {
			row += "\n<form method=\"post\" action=\"" + end + `"><input type="hidden" name="id" value="` + escaped(one.ID) +
				`"><button class="quiet" aria-label="` + escaped(fmt.Sprintf(c.endLabel, device)) + `">` + escaped(c.end) + "</button></form>"
		}
		rows.WriteString(string(row) + "</li>\n")
	}
	v.Sessions = template.HTML(rows.String())
	if count > 1 && a.EndURL != "" {
		v.Others = &button{URL: a.EndURL, Post: true, Fields: []Field{{"others", "1"}}, Quiet: true,
			Label: markup(s.kinds[AccountPage].words[lang].secondary.render(&values{app: cut(s.cfg.Name), email: cut(a.Email)}))}
	}
	for _, item := range a.Learned {
		if item.Value == "" {
			continue
		}
		label, ok := c.labels[item.Label]
		if !ok {
			label = cut(item.Label)
		}
		value := span{Value: cut(item.Value)}
		if item.Label == "email" {
			value = addressSpan(value.Value)
		}
		v.Learned += "<div><dt>" + escaped(label) + "</dt><dd>" + markup([]span{value}) + "</dd></div>\n"
	}
	return v
}

func (c *common) timeSpan(t, now time.Time) span {
	return span{Plain: c.when(t, now), Time: t.UTC().Format(time.RFC3339)}
}

// notice says how many sessions have been ended.
func (c *common) notice(ended int) string {
	switch {
	case ended <= 0:
		return ""
	case ended == 1:
		return c.ended
	}
	return fmt.Sprintf(c.endedMany, c.number(ended))
}

// Device says a User-Agent header in words: "Firefox on Linux", "Firefox en Linux".
// What it does not know is an unknown browser; the words of the header are never shown.
func (s *Set) Device(userAgent, lang string) string {
	c := s.common[lang]
	if c == nil {
		c = s.common["en"]
	}
	return c.device(userAgent)
}

// Device is Set.Device without a Set.
func Device(userAgent, lang string) string {
	c := commons()[lang]
	if c == nil {
		c = commons()["en"]
	}
	return c.device(userAgent)
}

func (c *common) device(userAgent string) string {
	if len(userAgent) > 1024 {
		userAgent = userAgent[:1024]
	}
	find := func(table [][2]string) string {
		for _, row := range table {
			if strings.Contains(userAgent, row[0]) {
				return row[1]
			}
		}
		return ""
	}
	// Most browsers claim to be several; the most particular claim is the true one.
	browser := find([][2]string{
		{"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"EdgiOS/", "Edge"}, {"Edge/", "Edge"},
		{"OPR/", "Opera"}, {"OPT/", "Opera"}, {"OPiOS/", "Opera"},
		{"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"}, {"YaBrowser/", "Yandex"}, {"DuckDuckGo/", "DuckDuckGo"},
		{"FxiOS/", "Firefox"}, {"Firefox/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"},
		{"Safari/", "Safari"},
	})
	system := find([][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Macintosh", "Mac"}, {"Linux", "Linux"}, {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"},
	})
	switch {
	case browser == "":
		return c.unknownBrowser
	case system == "":
		return browser
	}
	return fmt.Sprintf(c.browserOn, browser, system)
}
