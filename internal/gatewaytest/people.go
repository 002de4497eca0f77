package gatewaytest

import "net/http"

// Person is somebody whose claims are hard to carry in headers, and what an application is told of them.
type Person struct {
	Name   string         // of the case
	Claims map[string]any // as an issuer signs them; Issuer.Person takes them
	// Told are the headers by preset, as bytes on the wire; "" is what is sent without a preset. A header that is not there is
	// not sent. // :: preset → header → value
	Told map[string]map[string]string
}

// Presets are the names of all presets, "" for what is sent without one.
func Presets() []string {
	return []string{"", "remote-user", "auth-request", "pomerium", "grafana", "none"}
}

// PresetNames are all headers that a preset can send, canonical. The signed assertion of pomerium is not among them.
func PresetNames(preset string) []string {
	switch preset {
	case "":
		return []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-Name", "X-Forwarded-Groups"}
	case "remote-user":
		return []string{"Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups"}
	case "auth-request":
		return []string{"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Groups"}
	case "pomerium":
		return []string{"X-Pomerium-Claim-Sub", "X-Pomerium-Claim-Email", "X-Pomerium-Claim-Name", "X-Pomerium-Claim-Groups"}
	case "grafana":
		return []string{"X-Webauth-User", "X-Webauth-Email", "X-Webauth-Name", "X-Webauth-Groups"}
	}
	return nil
}

// Header is what the person's application is told under a preset.
func (p Person) Header(preset string) http.Header {
	h := http.Header{}
	for name, value := range p.Told[preset] {
		h[http.CanonicalHeaderKey(name)] = []string{value}
	}
	return h
}

// People are persons with accents, emoji, quotes and commas in their claims, and some who lack one.
func People() []Person {
	return []Person{
		person("plain", "u1", "Ann.Lee@Example.com", "Ann Lee", "ann", []string{"admin", "dev"},
			"ann.lee@example.com", "Ann Lee", "ann", "admin,dev"),
		person("accents", "u2", "jose@example.com", "José Ñandú Őry", "jose", []string{"dev"},
			"jose@example.com", "Jos%C3%A9 %C3%91and%C3%BA %C5%90ry", "jose", "dev"),
		person("emoji", "u3", "zoe@example.com", "Zoë 🦊 张", "zoe", []string{"ops", "🦊"}, // strict: such a role is left out
			"zoe@example.com", "Zo%C3%AB %F0%9F%A6%8A %E5%BC%A0", "zoe", "ops"),
		person("quotes", "u4", "boss@example.com", `Ann "The Boss" O'Hara \ <b>`, "boss", []string{`"quoted"`, `it's`},
			"boss@example.com", `Ann %22The Boss%22 O'Hara \ <b>`, "boss", `"quoted",it's`),
		person("commas", "u5", "lee@example.com", "Lee, Ann; Dr.", "lee", []string{"a,admin", "b"}, // no role is made of a part of another
			"lee@example.com", "Lee%2C Ann; Dr.", "lee", "b"),
		person("percent and plus", "u6", "pat+x@example.com", "100% + Pat%20", "pat", []string{"50%", "a b"},
			"pat+x@example.com", "100%25 %2B Pat%2520", "pat", "50%,a b"),
		person("blanks and breaks", "u7", "eve@example.com", " Eve\r\nX-Forwarded-Groups: admin ", "eve", []string{" admin", "dev\n", "user"},
			"eve@example.com", "%20Eve%0D%0AX-Forwarded-Groups: admin%20", "eve", "user"),
		person("right to left", "u8", "dan@example.com", "דן \u202eadmin", "dan", nil,
			"dan@example.com", "%D7%93%D7%9F %E2%80%AEadmin", "dan", ""),
		person("a username that no header carries", "u9", "li@example.com", "Li", "李", []string{},
			"li@example.com", "Li", "", ""),
		person("no name, no username", "u10", "min@example.com", "", "", nil,
			"min@example.com", "", "min@example.com", ""),
	}
}

// person is somebody with these claims ("" and nil: without), and with what is told of them: address, name percent-encoded,
// username, roles.
func person(name, sub, email, display, username string, roles []string, toldEmail, toldName, toldUsername, toldRoles string) Person {
	claims := map[string]any{"sub": sub, "sid": "sid-" + sub, "email": email, "email_verified": true}
	if display != "" {
		claims["name"] = display
	}
	if username != "" {
		claims["username"] = username
	}
	if roles != nil {
		claims["roles"] = roles
	}
	p := Person{Name: name, Claims: claims, Told: map[string]map[string]string{}}
	for preset, values := range map[string][]string{
		"":             {sub, toldEmail, toldUsername, toldName, toldRoles},
		"remote-user":  {toldEmail, toldEmail, toldName, toldRoles},
		"auth-request": {sub, toldEmail, toldUsername, toldRoles},
		"pomerium":     {sub, toldEmail, toldName, toldRoles},
		"grafana":      {toldEmail, toldEmail, toldName, toldRoles},
		"none":         {},
	} {
		p.Told[preset] = map[string]string{}
		for i, value := range values {
			if value != "" {
				p.Told[preset][PresetNames(preset)[i]] = value
			}
		}
	}
	return p
}
