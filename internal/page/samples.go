package page

import (
	"bytes"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"time"
)

// Sample is a page with values as they occur, for a look at it.
type Sample struct {
	Name string // the page's id, and after a dot the case of it: app-slow.after-post
	Page Page
}

// Samples are all pages and each of their cases, for a reader of lang.
func (s *Set) Samples(lang string) []Sample {
	now := s.cfg.Now()
	back := &Action{URL: "/"}
	retry := &Action{URL: "/reports?year=2026"}
	account := Account{
		Email: "ana.perez@example.com", Name: "Ana Pérez",
		Sessions: []AccountSession{
			{ID: "b", Device: s.Device("iPhone Safari/", lang), SignedIn: now.Add(-9 * 24 * time.Hour), LastUsed: now.Add(-3 * time.Hour)},
			{ID: "a", Device: s.Device("Linux Firefox/", lang), SignedIn: now.Add(-48 * time.Hour), LastUsed: now, This: true},
		},
		Learned: []LearnedItem{
			{"subject", "u8k2m4q6s1w3"}, {"email", "ana.perez@example.com"}, {"name", "Ana Pérez"}, {"roles", "admin, editor"},
		},
		SignOutURL: "/sign-out", EndURL: "/_portero/sessions/end",
	}
	one := account
	one.Sessions, one.EndURL = account.Sessions[1:], ""
	ended := account
	ended.Notice = 2
	many := account
	many.Notice, many.Sessions = 12, account.Sessions[1:]
	for i := range 199 {
		used := now.Add(-time.Duration(i+1) * 7 * time.Hour)
		many.Sessions = append(many.Sessions, AccountSession{
			ID: fmt.Sprintf("Zk3f-Q9xM%03d", i), Device: s.Device("Android SamsungBrowser/", lang), SignedIn: used.Add(-50 * time.Hour), LastUsed: used,
		})
	}

	var out []Sample
	for _, k := range kinds() {
		if k.id == SignInRequired {
			continue
		}
		p := Page{ID: k.id, Email: account.Email, LanguageReturn: "/"}
		if k.trouble {
			p.Code, p.Time = "7K3F-Q9XM", now
		}
		p.Primary = retry
		switch k.id {
		case SignedOut:
			p.Primary, p.Email = back, ""
			out = append(out, Sample{string(k.id), p})
			p.ProviderSilent = true
			out = append(out, Sample{string(k.id) + ".unfinished", p})
			continue
		case SignOut:
			p.Primary, p.Secondary = &Action{URL: "/sign-out", Post: true, Fields: []Field{{"return_to", "/"}}}, back
		case Denied:
			p.Secondary, p.User = back, p.Email
		case AppUnavailable, AppSlow:
			p.Timeout, p.SignedIn, p.User = time.Minute, true, p.Email
			out = append(out, Sample{string(k.id), p})
			p.AfterPost = true
			out = append(out, Sample{string(k.id) + ".after-post", p})
			continue
		case TooMany:
			p.Wait = 3 * time.Minute
		case StepUp:
			p.MaxAge, p.Secondary, p.User = 15*time.Minute, back, p.Email
		case AccountPage:
			for _, c := range []struct {
				name    string
				account *Account
			}{{"", &account}, {".one-session", &one}, {".ended", &ended}, {".many-sessions", &many}} {
				p.Account = c.account
				out = append(out, Sample{string(k.id) + c.name, p})
			}
			p.Account, p.Email, p.Primary = nil, "", back
			out = append(out, Sample{string(k.id) + ".signed-out", p})
			continue
		}
		out = append(out, Sample{string(k.id), p})
	}
	return out
}

// WriteAll writes every page in every configured language to dir as ID.LANG.html, logo and
// icon, and an index.html that lists them, and says how many pages it wrote. Light and
// dark are one file each, which follows the reader's setting. Files of the same names
// are overwritten.
func (s *Set) WriteAll(dir string) (int, error) {
	assets := filepath.Join(dir, "assets")
	if err := os.MkdirAll(assets, 0o755); err != nil {
		return 0, fmt.Errorf("making the folder for the pages: %w", err)
	}
	for _, a := range []*asset{s.logo, s.logoDark, s.icon} {
		if a == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(assets, a.file), a.data, 0o644); err != nil {
			return 0, fmt.Errorf("writing logo and icon: %w", err)
		}
	}
	drawn, err := s.draw(".")
	if err != nil {
		return 0, fmt.Errorf("rendering the logo: %w", err)
	}
	type row struct {
		Name  string
		Files []string
	}
	var rows []row
	var buf bytes.Buffer
	count := 0
	for _, lang := range s.languages {
		for i, sample := range s.Samples(lang) {
			buf.Reset()
			v := s.compose(s.kindOf(&sample.Page), sample.Page, lang, "app.example.com", drawn)
			if err := s.template.Execute(&buf, &v); err != nil {
				return count, fmt.Errorf("rendering page %s: %w", sample.Name, err)
			}
			file := sample.Name + "." + lang + ".html"
			if err := os.WriteFile(filepath.Join(dir, file), buf.Bytes(), 0o644); err != nil {
				return count, fmt.Errorf("writing page %s: %w", sample.Name, err)
			}
			count++
			if i == len(rows) {
				rows = append(rows, row{Name: sample.Name})
			}
			rows[i].Files = append(rows[i].Files, file)
		}
	}
	index, err := template.New("index").Parse(indexHTML)
	if err != nil {
		return count, fmt.Errorf("parsing the template of the index: %w", err)
	}
	buf.Reset()
	if err := index.Execute(&buf, map[string]any{"Style": s.own.style, "Rows": rows}); err != nil {
		return count, fmt.Errorf("rendering the index: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), buf.Bytes(), 0o644); err != nil {
		return count, fmt.Errorf("writing the index: %w", err)
	}
	return count, nil
}

const indexHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>All pages</title>
<style>{{.Style}}</style>
</head>
<body class="wide">
<main>
<h1>All pages</h1>
<p>With sample values. Light and dark follow the setting of your browser.</p>
<dl>
{{- range .Rows}}
<div><dt>{{.Name}}</dt>{{range .Files}}<dd><a href="{{.}}">{{.}}</a></dd>{{end}}</div>
{{- end}}
</dl>
</main>
</body>
</html>
`
