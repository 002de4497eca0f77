package setup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"portero/internal/management"
)

// run is what the changes of one plan know.
type run struct {
	client    *management.Client
	app       string            // id of the application, once there is one
	resources map[string]string // :: indicator → id of the resource that was made
	settle    time.Duration     // of Options
	note      string            // of the change that is being done
}

// ErrChanged is returned by Apply when the tenant is no longer as it was when the plan was shown. Nothing was changed.
var ErrChanged = errors.New("the tenant has changed since the plan was made; nothing was done")

// ErrProblems is returned by Apply for a plan with problems. Nothing was changed.
var ErrProblems = errors.New("the plan has problems; nothing was done")

// StepError is returned by Apply when a change failed. What was done before stays done.
type StepError struct {
	Failed     string   // the change that failed; it may have been done all the same
	Done, Left []string // the changes before and after it
	cause      error
}

func (e *StepError) Error() string {
	names := func(list []string) string {
		if len(list) == 0 {
			return "nothing"
		}
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s: %v\ndone: %s\nnot done: %s", e.Failed, e.cause, names(e.Done), names(append([]string{e.Failed}, e.Left...)))
}

func (e *StepError) Unwrap() error { return e.cause }

// Hint is what to type.
func (e *StepError) Hint() string {
	if hint := hintOf(e.cause); hint != "" {
		return hint + "; then run portero setup apply again, which goes on from here"
	}
	return "run portero setup apply again; it goes on from here"
}

// Apply does what a plan says, after it has read the tenant once more and found the plan unchanged. done hears of each
// change when it is done. It returns the id of the application.
func Apply(ctx context.Context, m *management.Client, d *Desired, o Options, shown *Plan, done func(Change)) (appID string, err error) {
	state, err := Read(ctx, m, d)
	if err != nil {
		return "", err
	}
	p := NewPlan(d, state, o)
	switch {
	case !p.equal(shown):
		return "", &hintedError{ErrChanged, "run portero setup apply again, and read what it shows"}
	case len(p.Problems) > 0:
		return "", ErrProblems
	}
	for _, c := range p.Changes {
		if c.What == clientSecret {
			if err := canWrite(d.SecretFile); err != nil {
				return "", err
			}
		}
	}
	r := &run{client: m, resources: map[string]string{}, app: p.AppID, settle: o.Settle}
	for i, c := range p.Changes {
		if c.do == nil {
			continue
		}
		if err := c.do(ctx, r); err != nil {
			return "", &StepError{Failed: c.String(), Done: names(p.Changes[:i]), Left: names(p.Changes[i+1:]), cause: err}
		}
		if i > 0 && p.Changes[i-1].do == nil {
			done(p.Changes[i-1])
		}
		c.Note, r.note = r.note, ""
		done(c)
	}
	return r.app, nil
}

func names(changes []Change) []string {
	var out []string
	for _, c := range changes {
		if c.do != nil {
			out = append(out, c.String())
		}
	}
	return out
}

// secretNames begins the names of the secrets that are made here.
const secretNames = "portero"

// goodSecret is a secret of the application: its first one, else another that Portero made, else a new one.
func goodSecret(ctx context.Context, r *run) (string, error) {
	secret, err := findSecret(ctx, r)
	if errors.Is(err, management.ErrTaken) { // another run has just made it
		secret, err = findSecret(ctx, r)
	}
	return secret, err
}

func findSecret(ctx context.Context, r *run) (string, error) {
	all, err := r.client.Secrets(ctx, r.app)
	if err != nil {
		return "", err
	}
	good := slices.DeleteFunc(slices.Clone(all), func(s management.Secret) bool { return s.Value == "" || s.ExpiresAt != nil })
	for _, s := range good {
		if s.Name == "Default secret" {
			return s.Value, nil
		}
	}
	for _, s := range good {
		if strings.HasPrefix(s.Name, secretNames) {
			return s.Value, nil
		}
	}
	name := secretNames
	for n := 2; slices.ContainsFunc(all, func(s management.Secret) bool { return s.Name == name }); n++ {
		name = fmt.Sprintf("%s-%d", secretNames, n)
	}
	made, err := r.client.CreateSecret(ctx, r.app, name)
	return made.Value, err
}
