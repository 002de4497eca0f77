package page

import (
	"net/http"
	"strings"
	"time"
)

// Language is the language of the answer to this request: that of the language
// cookie, else the one Accept-Language likes best, else the first of the configured
// ones. It is also what Logto is told as ui_locales.
func (s *Set) Language(r *http.Request) string {
	if s.cfg.LanguageCookie != "" {
		for _, c := range r.CookiesNamed(s.cfg.LanguageCookie) {
			if lang, ok := s.offered(c.Value); ok {
				return lang
			}
		}
	}
	best, bestQ := "", 0
	eachQuality(r.Header["Accept-Language"], func(item string, q int) {
		if q <= bestQ {
			return
		}
		if item == "*" {
			best, bestQ = s.languages[0], q
			return
		}
		// es-419 and es-MX are es.
		primary, _, _ := strings.Cut(item, "-")
		if lang, ok := s.offered(primary); ok {
			best, bestQ = lang, q
		}
	})
	if best != "" {
		return best
	}
	return s.languages[0]
}

func (s *Set) offered(lang string) (string, bool) {
	for _, l := range s.languages {
		if l == lang {
			return l, true
		}
	}
	return "", false
}

// SetLanguage sets the language cookie. It is false, and nothing is set, for a
// language that is not offered.
func (s *Set) SetLanguage(w http.ResponseWriter, lang string) bool {
	lang, ok := s.offered(lang)
	if !ok || s.cfg.LanguageCookie == "" {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name: s.cfg.LanguageCookie, Value: lang, Path: "/",
		MaxAge: int(365 * 24 * time.Hour / time.Second),
		Secure: s.cfg.SecureCookies, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return true
}
