package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"portero/internal/config"
	"portero/internal/logto"
	"portero/internal/management"
)

const (
	// rotatedNames begins the names of secrets that a rotation makes: portero-DATE-TIME.
	rotatedNames = secretNames + "-"
	// patience is how long gateways have to follow.
	patience = time.Minute
	// followEvery is how often they are asked, and absentFor how long one may give no answer.
	followEvery, absentFor = 250 * time.Millisecond, 5 * time.Second
)

// Rotation gives the gateway's application a new client secret while people sign in. At every moment the secret in the file
// is one that Logto takes:
//
//  1. a new secret is made beside the old one, and tried;
//  2. a note of both names is written beside the file, and the file switched;
//  3. every gateway says that it uses the new one and needs the old one no more;
//  4. only then the old one is removed, and what earlier rotations left.
//
// Broken off anywhere, the next Run goes on by the note.
type Rotation struct {
	Client   *management.Client
	Config   *config.Config
	Gateways []Gateway        // all of those that use the file; none: nobody can be asked
	Now      func() time.Time // nil: time.Now
	Patience time.Duration    // how long gateways have to follow; 0: a minute
	Done     func(string)     // hears of each step, as a sentence without a secret

	all     []management.Secret
	note    note
	pending bool
}

// Gateway is one that runs with the file.
type Gateway struct {
	Name   string                                         // for messages
	Secret func(ctx context.Context) (SecretInUse, error) // asks it, and has it try a secret that was not used yet
}

// SecretInUse is what a gateway says about its client secret.
type SecretInUse struct {
	AppID       string
	Fingerprint string // as of logto.Fingerprint; "": this version of a gateway does not tell
	Used        bool   // Logto has taken it, and no call with an earlier one is under way
}

// note is what the next run has to know, in a file beside that of the secret. There is no secret in it.
type note struct {
	AppID string `json:"app_id"`
	Old   string `json:"old"` // name at Logto of the secret that was in the file; "": Logto lists it under no name
	New   string `json:"new"`
}

// NotFollowedError is returned by Run when a gateway does not use the new secret, as far as it can be asked. Both secrets are
// good.
type NotFollowedError struct {
	File    string
	Gateway string // "": there is none to ask
	Reason  string
}

func (e *NotFollowedError) Error() string {
	who := e.Reason
	if e.Gateway != "" {
		who = "the gateway at " + e.Gateway + " " + e.Reason
	}
	return fmt.Sprintf("%s. The new secret is in %s; the old one is good too and has been kept, so nothing is broken", who, e.File)
}

// Hint is what to type.
func (e *NotFollowedError) Hint() string {
	return "once every gateway runs with the new file (it watches it; kill -HUP or a restart helps): portero setup rotate-secret --finish"
}

// Look reads what there is, and changes nothing. pending: a rotation was begun and not completed. names are the secrets that
// Run will remove at its end.
func (r *Rotation) Look(ctx context.Context) (pending bool, names []string, err error) {
	l := r.Config.Logto
	switch {
	case l.AppID == "":
		return false, nil, &hintedError{errors.New("logto.app_id is missing: there is no application whose secret could be rotated"), "portero setup apply"}
	case l.AppSecretFile == "":
		return false, nil, &hintedError{errors.New("logto.app_secret_file is missing: a new secret can only be written to a file of its own"),
			"write the secret of logto.app_secret into a file, name it under logto.app_secret_file, and restart the gateway"}
	case !l.AppSecret.IsSet():
		return false, nil, &hintedError{fmt.Errorf("there is no secret in %s yet", l.AppSecretFile), "portero setup apply"}
	}
	if err := canWrite(l.AppSecretFile); err != nil {
		return false, nil, err
	}
	if r.all, err = r.Client.Secrets(ctx, l.AppID); err != nil {
		return false, nil, fmt.Errorf("reading the client secrets: %w", err)
	}
	if r.note, err = readNote(l.AppSecretFile); err != nil {
		return false, nil, err
	}
	inFile := nameOf(r.all, l.AppSecret.Reveal())
	r.pending = r.note.AppID == l.AppID && named(r.all, r.note.New) != nil && (inFile == r.note.Old || inFile == r.note.New)
	if !r.pending {
		r.note = note{AppID: l.AppID, Old: inFile}
	}
	return r.pending, r.old(r.all), nil
}

// old are the names of what is removed at the end: the secret that was in use before, and those of earlier rotations. What
// somebody else made stays.
func (r *Rotation) old(all []management.Secret) []string {
	var names []string
	after := named(all, r.note.New)
	for _, s := range all {
		earlier := strings.HasPrefix(s.Name, rotatedNames) && (after == nil || s.CreatedAt <= after.CreatedAt)
		if s.Name != r.note.New && (s.Name == r.note.Old || earlier) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Run rotates, or completes what was begun. Look has been called before. The error is a *NotFollowedError when everything is
// good and the old secret is still there.
func (r *Rotation) Run(ctx context.Context) error {
	l := r.Config.Logto
	var fresh string
	if r.pending {
		fresh = named(r.all, r.note.New).Value
		r.say("Going on with the rotation that was begun: the new secret is %s.", r.note.New)
	} else {
		made, err := r.create(ctx)
		if err != nil {
			return fmt.Errorf("making a new secret: %w", err)
		}
		r.note.New, fresh = made.Name, made.Value
		r.say("Logto has made the secret %s.", made.Name)
	}
	if l.AppSecret.Reveal() != fresh {
		if err := r.try(ctx, fresh); err != nil {
			return err
		}
		if err := r.switchFile(fresh); err != nil {
			return err
		}
		r.say("It works, and is in %s.", l.AppSecretFile)
	}
	if err := r.follow(ctx, fresh); err != nil {
		return err
	}
	return r.finish(ctx, fresh)
}

// create makes a secret of a name that nobody has.
func (r *Rotation) create(ctx context.Context) (management.Secret, error) {
	now := r.Now
	if now == nil {
		now = time.Now
	}
	first := rotatedNames + now().UTC().Format("20060102-150405")
	name := first
	for n := 2; named(r.all, name) != nil; n++ {
		name = fmt.Sprintf("%s-%d", first, n)
	}
	made, err := r.Client.CreateSecret(ctx, r.note.AppID, name)
	if err == nil && made.Value == "" {
		err = errors.New("its value is missing in Logto's answer")
	}
	return made, err
}

// try asks the token endpoint whether it takes the new secret. One that it does not take is removed: nothing uses it.
func (r *Rotation) try(ctx context.Context, secret string) error {
	p, err := r.provider(secret)
	if err != nil {
		return err
	}
	defer p.Close()
	if err = p.Prove(ctx); err == nil {
		return nil
	}
	err = fmt.Errorf("the new secret was not put to use, and nothing has changed: %w", err)
	if r.pending {
		return err // it may have been in use already
	}
	return errors.Join(err, r.Client.DeleteSecret(ctx, r.note.AppID, r.note.New))
}

func (r *Rotation) provider(secret string) (*logto.Provider, error) {
	client, err := newHTTPClient(r.Config)
	if err != nil {
		return nil, err
	}
	l := r.Config.Logto
	return logto.New(logto.Config{Endpoint: l.Endpoint, Internal: l.InternalEndpoint, AppID: l.AppID, AppSecret: secret, Client: client}), nil
}

func (r *Rotation) switchFile(secret string) error {
	file := r.Config.Logto.AppSecretFile
	if err := writeNote(file, r.note); err != nil {
		return err
	}
	return writeSecret(file, secret)
}

// follow waits until every gateway uses the secret.
func (r *Rotation) follow(ctx context.Context, secret string) error {
	file := r.Config.Logto.AppSecretFile
	if len(r.Gateways) == 0 {
		return &NotFollowedError{File: file, Reason: "no gateway can be asked whether it uses the new secret"}
	}
	limit := r.Patience
	if limit <= 0 {
		limit = patience
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := logto.Fingerprint(r.note.AppID, secret)
	for _, g := range r.Gateways {
		if reason := await(waiting, g, r.note.AppID, want); reason != "" {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("given up; both secrets are good: %w", err)
			}
			return &NotFollowedError{File: file, Gateway: g.Name, Reason: reason}
		}
		r.say("The gateway at %s uses it.", g.Name)
	}
	return nil
}

// await asks one gateway until it uses the secret: "". Otherwise it says why it does not, once ctx ends or asking is no use.
func await(ctx context.Context, g Gateway, appID, want string) string {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	reason := "did not say in time which secret it uses"
	var silent time.Time // since when it gives no answer; zero: it does
	for {
		in, err := g.Secret(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return reason
		case err != nil:
			reason = "cannot be asked: " + err.Error()
			if silent.IsZero() {
				silent = time.Now()
			} else if time.Since(silent) > absentFor {
				return reason
			}
		case in.Fingerprint == "":
			return "is of a version that does not tell which secret it uses"
		case in.AppID != appID:
			return "is another application at Logto: its logto.app_id is not that of this configuration"
		case in.Fingerprint != want:
			reason, silent = "has not loaded the new secret; see what its log says", time.Time{}
		case !in.Used:
			reason, silent = "has loaded the new secret and Logto has not taken it from there yet; see what its log says", time.Time{}
		default:
			return ""
		}
		select {
		case <-ctx.Done():
			return reason
		case <-tick.C:
		}
	}
}

// finish removes what is no longer needed. What is in the file now is looked at once more: it stays.
func (r *Rotation) finish(ctx context.Context, fresh string) error {
	file := r.Config.Logto.AppSecretFile
	now, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(now)) != fresh {
		return fmt.Errorf("%s has been changed meanwhile: nothing was removed", file)
	}
	all, err := r.Client.Secrets(ctx, r.note.AppID)
	if err != nil {
		return fmt.Errorf("reading the client secrets: %w", err)
	}
	if nameOf(all, fresh) != r.note.New {
		return fmt.Errorf("the secret in %s is no longer one that Logto lists: nothing was removed", file)
	}
	for _, name := range r.old(all) {
		if err := r.Client.DeleteSecret(ctx, r.note.AppID, name); err != nil {
			return &hintedError{fmt.Errorf("removing the secret %s: %w", name, err), "portero setup rotate-secret --finish"}
		}
		r.say("Logto has removed the secret %s.", name)
	}
	if err := removeNote(file); err != nil {
		return err
	}
	r.say("The secret is rotated.")
	return nil
}

func (r *Rotation) say(format string, args ...any) {
	if r.Done != nil {
		r.Done(fmt.Sprintf(format, args...))
	}
}

func named(all []management.Secret, name string) *management.Secret {
	i := slices.IndexFunc(all, func(s management.Secret) bool { return s.Name == name && name != "" })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func nameOf(all []management.Secret, value string) string {
	for _, s := range all {
		if s.Value == value && value != "" {
			return s.Name
		}
	}
	return ""
}

// noteFile is where the note lies.
func noteFile(file string) (string, error) {
	file, err := target(file)
	return file + ".rotation", err
}

// readNote reads the note beside a file. There being none is no error.
func readNote(file string) (note, error) {
	name, err := noteFile(file)
	if err != nil {
		return note{}, err
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, nil
	}
	var n note
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		return note{}, &hintedError{fmt.Errorf("reading what an earlier rotation left: %w", err), "look at the secrets in Logto's console, and remove " + name}
	}
	return n, nil
}

func writeNote(file string, n note) error {
	name, err := noteFile(file)
	if err != nil {
		return err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return writeSecret(name, string(text))
}

func removeNote(file string) error {
	name, err := noteFile(file)
	if err != nil {
		return err
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the note of this rotation: %w", err)
	}
	return nil
}
