package forwarded

import (
	"errors"
	"net/http"
	"strings"
)

// Question is the request that a trusted proxy asks about, as it received it.
type Question struct{ Method, Target string }

// questionNames are the headers in which a question stands. All that they say is about the request that is asked about.
var questionNames = [...]string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"}

// ReadQuestion reads what a trusted proxy asks about. appended is the target where that stands in the question's own, as Envoy
// asks: then method and host are the question's own too, named being its host. Else all stands in headers. What is said in both
// places has to be the same. Scheme, host and client are Resolve's to read; that they are said, and once, is checked here.
func ReadQuestion(r *http.Request, named, appended string) (Question, error) {
	for _, name := range questionNames {
		switch lines := r.Header[name]; {
		case len(lines) > 1:
			return Question{}, errors.New(name + " is there twice")
		case len(lines) == 0 && appended != "":
		case len(lines) == 0 || lines[0] == "":
			return Question{}, errors.New(name + " is missing")
		case name != "X-Forwarded-Uri" && strings.ContainsAny(lines[0], ", \t"):
			return Question{}, errors.New(name + " has several values")
		}
	}
	if appended != "" {
		return Question{r.Method, appended}, agrees(r, named, appended)
	}
	if len(r.Header["X-Forwarded-For"]) == 0 { // the proxy itself would be the client, and may be in a network that rules name
		return Question{}, errors.New("X-Forwarded-For is missing")
	}
	q := Question{r.Header["X-Forwarded-Method"][0], r.Header["X-Forwarded-Uri"][0]}
	if q.Target[0] != '/' {
		return Question{}, errors.New("X-Forwarded-Uri is no path")
	}
	return q, nil
}

// agrees says which header contradicts a question that is not in headers.
func agrees(r *http.Request, named, appended string) error {
	for _, said := range [...][2]string{{"X-Forwarded-Method", r.Method}, {"X-Forwarded-Host", named}, {"X-Forwarded-Uri", appended}} {
		if lines := r.Header[said[0]]; len(lines) > 0 && lines[0] != said[1] {
			return errors.New(said[0] + " differs from the request that is asked about")
		}
	}
	return nil
}
