package tenant

import (
	_ "embed"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

//go:embed experience.json
var experienceJSON []byte

func seededExperience() map[string]any {
	var e map[string]any
	if err := json.Unmarshal(experienceJSON, &e); err != nil {
		panic(err) // a file of this package
	}
	return e
}

var identifiers = []string{"username", "email", "phone"}

// patchExperience guards what is about signing in by e-mail; the other members that there are pass as they come.
func patchExperience() guard {
	guarded := map[string]guard{
		"signInMode":                one("SignIn", "Register", "SignInAndRegister"),
		"signUp":                    signUpGuard,
		"signIn":                    signInGuard,
		"unknownSessionRedirectUrl": union(nullable(text(isURL)), literal("")),
	}
	var members []member
	for _, name := range slices.Sorted(maps.Keys(seededExperience())) {
		switch g, known := guarded[name]; {
		case known:
			members = append(members, member{name, g})
		case name != "tenantId" && name != "id":
			members = append(members, member{name, anything})
		}
	}
	return object(partial(members...)...)
}

var (
	signUpGuard = object(
		member{"identifiers", list(one(identifiers...))},
		member{"password", boolean},
		member{"verify", boolean},
		member{"secondaryIdentifiers", optional(list(object(
			member{"identifier", union(one(identifiers...), one("emailOrPhone"))},
			member{"verify", optional(boolean)},
		)))},
	)
	signInGuard = object(member{"methods", list(object(
		member{"identifier", one(identifiers...)},
		member{"password", boolean},
		member{"verificationCode", boolean},
		member{"isPasswordPrimary", boolean},
	))})
)

func (t *Tenant) routeExperience() {
	t.handle("GET /api/sign-in-exp", nil, func(call) (answer, error) { return answer{http.StatusOK, maps.Clone(t.experience)}, nil })
	// GET /api/.well-known/sign-in-exp is what sign-in pages are told, and everybody who asks.
	t.handle("GET /api/.well-known/sign-in-exp", nil, func(call) (answer, error) {
		e := maps.Clone(t.experience)
		delete(e, "emailBlocklistPolicy")
		delete(e, "forgotPasswordMethods")
		e["socialConnectors"], e["ssoConnectors"], e["isDevelopmentTenant"] = []any{}, []any{}, false
		e["forgotPassword"] = map[string]any{"phone": false, "email": t.connector != nil}
		return answer{http.StatusOK, e}, nil
	})
	// PATCH /api/sign-in-exp: the members that are given are replaced, each as a whole.
	t.handle("PATCH /api/sign-in-exp", patchExperience(), func(c call) (answer, error) {
		var up *signUp
		if given, ok := c.body["signUp"].(map[string]any); ok {
			up = &signUp{}
			fill(up, given)
			if err := t.checkSignUp(*up); err != nil {
				return answer{}, err
			}
		}
		if given, ok := c.body["signIn"].(map[string]any); ok {
			if up == nil {
				up = &signUp{}
				fill(up, t.experience["signUp"].(map[string]any))
			}
			var in signIn
			fill(&in, given)
			if err := t.checkSignIn(in, *up); err != nil {
				return answer{}, err
			}
		}
		maps.Copy(t.experience, withoutEmpty(c.body))
		return answer{http.StatusOK, maps.Clone(t.experience)}, nil
	})
}

type signUp struct {
	Identifiers []string `json:"identifiers"`
	Password    bool     `json:"password"`
	Verify      bool     `json:"verify"`
	Secondary   []struct {
		Identifier string `json:"identifier"`
		Verify     bool   `json:"verify"`
	} `json:"secondaryIdentifiers"`
}

type signIn struct {
	Methods []struct {
		Identifier string `json:"identifier"`
		Password   bool   `json:"password"`
		Code       bool   `json:"verificationCode"`
	} `json:"methods"`
}

func connectorMissing(kind string) *Error {
	return refused("sign_in_experiences.enabled_connector_not_found", "Enabled "+kind+" connector not found.")
}

// checkSignUp is Logto's validateSignUp, in its order.
func (t *Tenant) checkSignUp(s signUp) error {
	primary, secondary := map[string]bool{}, map[string]bool{}
	for _, one := range s.Identifiers {
		primary[one] = true
	}
	for _, one := range s.Secondary {
		secondary[one.Identifier] = true
	}
	duplicated := len(primary) != len(s.Identifiers) || len(secondary) != len(s.Secondary)
	for one := range secondary {
		duplicated = duplicated || primary[one] || (one == "emailOrPhone" && (primary["email"] || primary["phone"]))
	}
	switch {
	case len(s.Secondary) > 0 && len(s.Identifiers) == 0:
		return refused("sign_in_experiences.missing_sign_up_identifiers", "Primary sign-up identifier cannot be empty.")
	case duplicated:
		return refused("sign_in_experiences.duplicated_sign_up_identifiers", "Duplicate sign-up identifiers detected.")
	}
	unverified := (primary["email"] || primary["phone"] || len(secondary) > 1 || (len(secondary) == 1 && !secondary["username"])) && !s.Verify
	for _, one := range s.Secondary {
		unverified = unverified || (one.Identifier != "username" && !one.Verify)
	}
	switch {
	case unverified:
		return refused("sign_in_experiences.passwordless_requires_verify", "Must enable verify for email/phone sign up identifier.")
	case (primary["email"] || secondary["email"] || secondary["emailOrPhone"]) && t.connector == nil:
		return connectorMissing("Email")
	case primary["phone"] || secondary["phone"] || secondary["emailOrPhone"]: // there are no connectors for messages here
		return connectorMissing("Sms")
	}
	return nil
}

// checkSignIn is Logto's validateSignIn, in its order.
func (t *Tenant) checkSignIn(s signIn, up signUp) error {
	for _, kind := range []string{"email", "phone"} {
		for _, m := range s.Methods {
			if m.Code && m.Identifier == kind {
				if kind == "phone" {
					return connectorMissing("Sms")
				}
				if t.connector == nil {
					return connectorMissing("Email")
				}
			}
		}
	}
	for _, m := range s.Methods {
		if !m.Password && !m.Code {
			return refused("sign_in_experiences.at_least_one_authentication_factor", "You have to select at least one authentication factor.")
		}
	}
	if up.Verify && !up.Password {
		for _, m := range s.Methods {
			if !m.Code && m.Identifier != "username" {
				return refused("sign_in_experiences.code_sign_in_must_be_enabled",
					"Verification code sign in must be enabled when set a password is not required in sign up.")
			}
		}
	}
	return nil
}

// Experience is how people sign in.
type Experience struct {
	Register          bool   // unknown addresses are registered
	SignIn            bool   // known ones are let in
	EmailCode         bool   // by a code that is sent
	UnknownSessionURL string // where pages without an interaction lead; "" a page says so
}

// Experience returns how people sign in at this moment.
func (t *Tenant) Experience() Experience {
	t.mu.Lock()
	defer t.mu.Unlock()
	mode := t.experience["signInMode"]
	e := Experience{Register: mode != "SignIn", SignIn: mode != "Register"}
	e.UnknownSessionURL, _ = t.experience["unknownSessionRedirectUrl"].(string)
	var in signIn
	fill(&in, t.experience["signIn"].(map[string]any))
	for _, m := range in.Methods {
		e.EmailCode = e.EmailCode || (m.Identifier == "email" && m.Code)
	}
	return e
}

// SignInByEmail switches the sign-in experience to codes by e-mail for everybody, as `PATCH /api/sign-in-exp` would. There is a connector.
func (t *Tenant) SignInByEmail(unknownSessionURL string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.experience["signUp"] = map[string]any{"identifiers": []any{"email"}, "password": false, "verify": true}
	t.experience["signIn"] = map[string]any{"methods": []any{
		map[string]any{"identifier": "email", "password": false, "verificationCode": true, "isPasswordPrimary": false},
	}}
	t.experience["signInMode"] = "SignInAndRegister"
	t.experience["unknownSessionRedirectUrl"] = nil
	if unknownSessionURL != "" {
		t.experience["unknownSessionRedirectUrl"] = unknownSessionURL
	}
}
