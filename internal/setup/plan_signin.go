package setup

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"portero/internal/management"
)

const email = "email" // Logto's word for the identifier

// planSignIn: the members that differ are replaced, each as a whole, with what somebody else entered into them.
func (p *Plan) planSignIn(want SignIn, have management.Object) {
	change := management.Object{}
	var fields []Field
	set := func(name string, value any, changed []Field) {
		if len(changed) > 0 {
			change[name] = value
			fields = append(fields, changed...)
		}
	}
	set("signInMode", want.Mode, compare("signInMode", want.Mode, have["signInMode"]))
	if want.Mode == ModeOpen && text(have["signInMode"]) == ModeClosed {
		p.note("whoever can receive mail may register then, at every application of the tenant; to keep it closed, write registration: closed under logto.sign_in")
	}
	up := signUp(object(have["signUp"]))
	set("signUp", up, compareSignUp(up, object(have["signUp"])))
	methods, changed := p.signInMethods(object(have["signIn"]))
	set("signIn", methods, changed)
	switch now := text(have["unknownSessionRedirectUrl"]); {
	case now == "":
		set("unknownSessionRedirectUrl", want.ContinueURL, compare("unknownSessionRedirectUrl", want.ContinueURL, nil))
	case now != want.ContinueURL && !slices.Contains(want.Continues, now):
		p.note("unknownSessionRedirectUrl of the sign-in experience stays %s; people whose sign-in page is too old come back to the gateway with %s", show(now), want.ContinueURL)
	}
	if len(change) == 0 {
		return
	}
	p.Changes = append(p.Changes, Change{Action: Modify, What: "sign-in experience", Fields: fields, do: func(ctx context.Context, r *run) error {
		_, err := r.client.UpdateSignInExperience(ctx, change)
		return err
	}})
}

// signUp is how people register: with an address that is verified. What Logto is seeded with, a user name and a password,
// goes; an identifier that somebody chose is asked for besides.
func signUp(have map[string]any) map[string]any {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]any{}
	}
	now := texts(have["identifiers"])
	if _, there := have["password"].(bool); !there || isSeededSignUp(have) {
		out["password"] = false
	}
	out["verify"] = true
	if slices.Contains(now, email) {
		return out
	}
	out["identifiers"] = []any{email}
	switch {
	case slices.Equal(now, []string{"phone"}): // of these two, one is enough
		out["identifiers"], now = []any{email, "phone"}, nil
	case isSeededSignUp(have):
		now = nil
	}
	if second := secondIdentifiers(have, now); len(second) > 0 || len(seconds(have)) > 0 {
		out["secondaryIdentifiers"] = second
	}
	return out
}

// isSeededSignUp says whether nobody has chosen how people register.
func isSeededSignUp(have map[string]any) bool {
	return slices.Equal(texts(have["identifiers"]), []string{"username"}) && have["password"] == true && have["verify"] == false && len(seconds(have)) == 0
}

// secondIdentifiers are those that are asked for beside the address, now that it is the first: those that were first, and
// those that were second.
func secondIdentifiers(have map[string]any, first []string) []any {
	second := []any{}
	for _, identifier := range first {
		one := map[string]any{"identifier": identifier}
		if identifier != "username" {
			one["verify"] = true
		}
		second = append(second, one)
	}
	list, _ := have["secondaryIdentifiers"].([]any)
	for _, one := range list {
		switch text(object(one)["identifier"]) {
		case email, "emailOrPhone":
		default:
			second = append(second, one)
		}
	}
	return second
}

func compareSignUp(want, have map[string]any) []Field {
	fields := compareLists("signUp.identifiers", texts(want["identifiers"]), texts(have["identifiers"]))
	fields = append(fields, compare("signUp.password", want["password"], have["password"])...)
	fields = append(fields, compare("signUp.verify", want["verify"], have["verify"])...)
	return append(fields, compareLists("signUp.secondaryIdentifiers", seconds(want), seconds(have))...)
}

func seconds(signUp map[string]any) []string {
	var out []string
	list, _ := signUp["secondaryIdentifiers"].([]any)
	for _, one := range list {
		out = append(out, text(object(one)["identifier"]))
	}
	return out
}

// signInMethods is how people sign in: with an address and a code. A password for addresses stays switched on where it was,
// and so do other identifiers, save the seeded user name and password where nothing else is there.
func (p *Plan) signInMethods(have map[string]any) (map[string]any, []Field) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]any{}
	}
	now, _ := have["methods"].([]any)
	byMail := map[string]any{"identifier": email, "password": false, "verificationCode": true, "isPasswordPrimary": false}
	methods := []any{}
	for _, one := range now {
		method := object(one)
		switch {
		case text(method["identifier"]) == email:
			byMail = maps.Clone(method)
			byMail["verificationCode"] = true
			if method["password"] == true {
				p.note("people may go on signing in by e-mail %s", how(byMail))
			}
		case len(now) == 1 && isSeededMethod(method): // nobody chose it
		default:
			methods = append(methods, one)
			p.note("people may go on signing in by %s %s", show(text(method["identifier"])), how(method))
		}
	}
	at := slices.IndexFunc(now, func(one any) bool { return text(object(one)["identifier"]) == email })
	methods = slices.Insert(methods, max(at, 0), any(byMail))
	out["methods"] = methods
	return out, compareMethods(methods, now)
}

func isSeededMethod(m map[string]any) bool {
	return text(m["identifier"]) == "username" && m["password"] == true && m["verificationCode"] == false
}

// how says by which means a method works.
func how(method map[string]any) string {
	code, password := method["verificationCode"] == true, method["password"] == true
	switch {
	case code && password && method["isPasswordPrimary"] == true:
		return "with password or code"
	case code && password:
		return "with code or password"
	case code:
		return "with code"
	}
	return "with password"
}

func compareMethods(want, have []any) []Field {
	var fields []Field
	find := func(list []any, identifier string) map[string]any {
		for _, one := range list {
			if m := object(one); text(m["identifier"]) == identifier {
				return m
			}
		}
		return nil
	}
	for _, one := range have {
		m := object(one)
		if identifier := text(m["identifier"]); find(want, identifier) == nil {
			fields = append(fields, Field{Action: Remove, Name: "signIn.methods", Old: show(identifier) + " " + how(m)})
		}
	}
	for _, one := range want {
		m := object(one)
		identifier := text(m["identifier"])
		switch was := find(have, identifier); {
		case was == nil:
			fields = append(fields, Field{Action: Add, Name: "signIn.methods", New: identifier + " " + how(m)})
		case !reflect.DeepEqual(was, m):
			fields = append(fields, Field{Action: Modify, Name: "signIn.methods", Old: identifier + " " + how(was), New: identifier + " " + how(m)})
		}
	}
	return fields
}

// compareLists compares two lists as sets; the order counts for nobody.
func compareLists(name string, want, have []string) []Field {
	var fields []Field
	for _, one := range have {
		if !slices.Contains(want, one) {
			fields = append(fields, Field{Action: Remove, Name: name, Old: show(one)})
		}
	}
	for _, one := range want {
		if !slices.Contains(have, one) {
			fields = append(fields, Field{Action: Add, Name: name, New: show(one)})
		}
	}
	return fields
}

// compare compares two values; nil and "" are none.
func compare(name string, want, have any) []Field {
	none := func(v any) bool { return v == nil || v == "" }
	f := Field{Action: Modify, Name: name}
	switch {
	case none(want) && none(have), same(want, have):
		return nil
	case none(have):
		f.Action = Add
	case none(want):
		f.Action = Remove
	}
	a, isText := want.(string)
	if b, both := have.(string); isText && both && f.Action == Modify {
		f.Old, f.New = showBoth(b, a)
		return []Field{f}
	}
	if !none(want) {
		f.New = show(want)
	}
	if !none(have) {
		f.Old = show(have)
	}
	return []Field{f}
}

// same compares two values of JSON, whatever they are made of.
func same(a, b any) bool {
	return reflect.DeepEqual(a, b) || isNumber(a) && isNumber(b) && fmt.Sprint(a) == fmt.Sprint(b)
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, fmt.Stringer: // json.Number is one
		return true
	}
	return false
}

// keys are the names of two objects, each once, in order.
func keys(a, b map[string]any) []string {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// object is a JSON object; nil: it is none.
func object(v any) map[string]any {
	switch o := v.(type) {
	case map[string]any:
		return o
	case management.Object:
		return o
	}
	return nil
}

// text is a JSON text; "": it is none.
func text(v any) string {
	s, _ := v.(string)
	return strings.TrimSpace(s)
}
