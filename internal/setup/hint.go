package setup

import "errors"

// hintOf is what an error says that there is to do; "": nothing.
func hintOf(err error) string {
	var told interface{ Hint() string }
	if errors.As(err, &told) {
		return told.Hint()
	}
	return ""
}

// hintedError is an error and what to type.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func (e *hintedError) Hint() string { return e.hint }
