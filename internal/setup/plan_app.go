package setup

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"portero/internal/management"
)

const defaultRefreshDays = 14 // Logto's, where the application says nothing

func (p *Plan) planApplication(d *Desired, s *State, o Options) {
	want, have := d.Application, s.Application
	switch {
	case have == nil && want.ID != "":
		p.problem("logto.app_id", "the tenant has no application %q; write the App ID that Logto's console shows, or remove the key so that setup makes an application", want.ID)
		return
	case have == nil:
		p.planNewApplication(want, s.Same)
		return
	case have.Type != management.Traditional:
		p.problem("logto.app_id", "the application %q is of type %s; write that of one of type %s, or remove the key so that setup makes it", want.ID, show(have.Type), management.Traditional)
		return
	}
	p.AppID = have.ID
	for _, other := range s.Same {
		if want.isIt(other) {
			p.note("the application %s (%s) was made by another run of setup, later, and stays as it is; remove it in Logto's console if nothing uses it", show(other.Name), show(other.ID))
			continue
		}
		p.note("the application %s (%s) has redirect URIs of this gateway too and stays as it is", show(other.Name), show(other.ID))
	}
	p.changeApplication(want, have, o)
}

func (p *Plan) planNewApplication(want Application, same []management.Application) {
	var ids []string
	for _, other := range same {
		if other.Name == want.Name {
			ids = append(ids, show(other.ID))
		} else {
			p.note("the application %s (%s) has redirect URIs of this gateway too and stays as it is; if it is meant to be the gateway's, write app_id: %[2]s under logto", show(other.Name), show(other.ID))
		}
	}
	if len(ids) > 0 {
		p.problem("logto.app_id", "is missing, and the tenant has several applications %q with redirect URIs of this gateway; write the App ID of one of them: %s", want.Name, list(ids))
		return
	}
	custom := management.Object{"rotateRefreshToken": true, "refreshTokenTtlInDays": want.RefreshDays}
	app := management.Application{
		Name: want.Name, Description: want.mark(), Type: management.Traditional, OIDC: want.oidc(nil, Options{}), Custom: custom,
	}
	fields := append([]Field{{Action: Add, Name: "type", New: app.Type}}, compareApplication(app.OIDC, custom, nil, nil)...)
	p.Changes = append(p.Changes, Change{Action: Add, What: "application", Name: fmt.Sprintf("%q", want.Name), Fields: fields, do: func(ctx context.Context, r *run) error {
		made, err := r.client.CreateApplication(ctx, app)
		if err != nil {
			return err
		}
		r.app = made.ID
		return r.yield(ctx, want, made)
	}})
}

const settle = 100 * time.Millisecond // where Options says nothing

// yield gives up the application that this run has just made where another run was first: at the end there is one, and it
// is the same for everybody.
func (r *run) yield(ctx context.Context, want Application, made management.Application) error {
	select {
	case <-time.After(cmp.Or(r.settle, settle)):
	case <-ctx.Done():
		return ctx.Err()
	}
	all, err := r.client.Applications(ctx, management.Traditional)
	if err != nil {
		return err
	}
	first := made
	for _, a := range all {
		if want.isIt(a) && earlier(a, first) < 0 {
			first = a
		}
	}
	if first.ID == made.ID {
		return nil
	}
	if err := r.client.DeleteApplication(ctx, made.ID); err != nil {
		return err
	}
	r.app = first.ID
	r.note = fmt.Sprintf("another run of setup was first: the application is %s, which it made; the one that this run made (%s) is removed", first.ID, made.ID)
	same := &Plan{}
	same.changeApplication(want, &first, Options{})
	for _, c := range same.Changes { // where the other run has another configuration
		if err := c.do(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// changeApplication adds what is ours first, and removes what is not in a request of its own.
func (p *Plan) changeApplication(want Application, have *management.Application, o Options) {
	name := show(have.Name) + " (" + show(have.ID) + ")"
	update := func(fields []Field, change management.Object) {
		if len(fields) > 0 {
			p.Changes = append(p.Changes, Change{Action: Modify, What: "application", Name: name, Fields: fields, do: func(ctx context.Context, r *run) error {
				_, err := r.client.UpdateApplication(ctx, have.ID, change)
				return err
			}})
		}
	}
	change := management.Object{}
	var fields []Field
	if want.Named && have.Name != want.Name {
		change["name"] = want.Name
		fields = compare("name", want.Name, have.Name)
	}
	if !o.Prune {
		p.noteForeign(want, have)
	}
	oidc, custom := want.oidc(have.OIDC, Options{}), want.custom(have.Custom)
	if o.Prune {
		oidc["backchannelLogoutUri"] = want.BackchannelURI
	}
	if f := compareApplication(oidc, nil, have.OIDC, nil); len(f) > 0 {
		change["oidcClientMetadata"], fields = oidc, append(fields, f...)
	}
	if f := compareApplication(nil, custom, nil, have.Custom); len(f) > 0 {
		change["customClientMetadata"], fields = custom, append(fields, f...)
	}
	update(fields, change)
	if o.Prune {
		pruned := want.oidc(oidc, o)
		update(compareApplication(pruned, nil, oidc, nil), management.Object{"oidcClientMetadata": pruned})
	}
}

// oidc is the application's metadata as it shall be: ours, and what is there beside it.
func (a Application) oidc(have management.Object, o Options) management.Object {
	out := maps.Clone(have)
	if out == nil {
		out = management.Object{}
	}
	for name, ours := range map[string][]string{"redirectUris": a.RedirectURIs, "postLogoutRedirectUris": a.PostLogoutURIs} {
		all := ours
		if !o.Prune {
			all = union(texts(have[name]), ours)
		}
		out[name] = slices.Clone(all)
	}
	if !a.isOtherWay(text(have["backchannelLogoutUri"])) || o.Prune {
		out["backchannelLogoutUri"] = a.BackchannelURI
	}
	out["backchannelLogoutSessionRequired"] = true
	return out
}

// isOtherWay says whether a back-channel logout URI is our endpoint under another host: where Logto reaches the gateway by
// an address that browsers do not know.
func (a Application) isOtherWay(uri string) bool {
	theirs, err := url.Parse(uri)
	ours, _ := url.Parse(a.BackchannelURI)
	return err == nil && ours != nil && uri != a.BackchannelURI && theirs.Host != "" && theirs.Path == ours.Path
}

// mark is the description of an application that is made here.
func (a Application) mark() string { return "Portero at " + a.origin() }

func (a Application) origin() string {
	u, err := url.Parse(a.BackchannelURI)
	if err != nil {
		return a.BackchannelURI
	}
	return u.Scheme + "://" + u.Host
}

// custom is how tokens are given out: refresh tokens are renewed, and last as long as a session. What is longer stays.
func (a Application) custom(have management.Object) management.Object {
	out := maps.Clone(have)
	if out == nil {
		out = management.Object{}
	}
	if have["rotateRefreshToken"] == false {
		out["rotateRefreshToken"] = true
	}
	if refreshDaysOf(have) < a.RefreshDays {
		out["refreshTokenTtlInDays"] = a.RefreshDays
	}
	return out
}

// refreshDaysOf is how many days refresh tokens last by an application's metadata.
func refreshDaysOf(custom management.Object) int {
	if days, err := strconv.Atoi(fmt.Sprint(custom["refreshTokenTtlInDays"])); err == nil {
		return days
	}
	if seconds, err := strconv.Atoi(fmt.Sprint(custom["refreshTokenTtl"])); err == nil {
		return seconds / (24 * 60 * 60)
	}
	return defaultRefreshDays
}

// compareApplication compares the parts of the metadata that are ours.
func compareApplication(oidc, custom, wasOIDC, wasCustom management.Object) []Field {
	var fields []Field
	for _, name := range []string{"redirectUris", "postLogoutRedirectUris"} {
		fields = append(fields, compareLists(name, texts(oidc[name]), texts(wasOIDC[name]))...)
	}
	for _, name := range []string{"backchannelLogoutUri", "backchannelLogoutSessionRequired"} {
		fields = append(fields, compare(name, oidc[name], wasOIDC[name])...)
	}
	for _, name := range []string{"rotateRefreshToken", "refreshTokenTtlInDays"} {
		fields = append(fields, compare(name, custom[name], wasCustom[name])...)
	}
	return fields
}

// noteForeign names what somebody else entered.
func (p *Plan) noteForeign(want Application, have *management.Application) {
	for _, one := range []struct {
		what, name string
		ours       []string
	}{{"redirect URI", "redirectUris", want.RedirectURIs}, {"post sign-out redirect URI", "postLogoutRedirectUris", want.PostLogoutURIs}} {
		for _, uri := range texts(have.OIDC[one.name]) {
			if !slices.Contains(one.ours, uri) {
				p.note("the %s %s is not of this configuration and stays; --prune removes it", one.what, show(uri))
			}
		}
	}
	if uri := text(have.OIDC["backchannelLogoutUri"]); want.isOtherWay(uri) {
		p.note("the backchannel logout URI stays %s; --prune makes it %s", show(uri), want.BackchannelURI)
	}
}

const clientSecret = "client secret"

// planSecret: a secret that is good stays where it is.
func (p *Plan) planSecret(d *Desired, s *State) {
	good := s.Application != nil && d.Secret.IsSet() && slices.ContainsFunc(s.Secrets, func(one management.Secret) bool {
		return one.Value == d.Secret.Reveal()
	})
	switch {
	case good:
		return
	case d.SecretFile == "" && d.Secret.IsSet():
		p.problem("logto.app_secret", "is no client secret of the gateway's application; remove it, and write app_secret_file with the name of a file that setup writes one to")
		return
	case d.SecretFile == "":
		p.problem("logto.app_secret_file", "is missing; write the name of the file that setup writes the client secret to, like logto-secret")
		return
	}
	f := Field{Action: Add, Name: "value", New: sensitive}
	if d.Secret.IsSet() {
		f = Field{Action: Modify, Name: "value", Old: sensitive, New: sensitive}
	}
	p.Changes = append(p.Changes, Change{Action: f.Action, What: clientSecret, Name: "in " + d.SecretFile, Fields: []Field{f}, do: func(ctx context.Context, r *run) error {
		secret, err := goodSecret(ctx, r)
		if err != nil {
			return err
		}
		return writeSecret(d.SecretFile, secret)
	}})
}

// list is a list for a sentence.
func list(words []string) string {
	return fmt.Sprint(words)[1 : len(fmt.Sprint(words))-1]
}
