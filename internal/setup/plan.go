package setup

// Action says what becomes of something. Its value is the sign that begins its lines.
type Action string

// What a plan does.
const (
	Add    Action = "+"
	Modify Action = "~"
	Remove Action = "-"
)

// Plan is what has to be done to a tenant.
type Plan struct {
	Changes  []Change // in the order in which they are done
	Notes    []string // what was kept, and what the operator has to write
	Problems []Problem
}

// Change is one thing that is done, by one request save where its fields say more.
type Change struct {
	Action Action
	What   string // application, e-mail connector, sign-in experience, API resource, permission, role, client secret
	Name   string // "": there is only one
	Fields []Field
}

// Field is a part of a Change. Old and New are for people: shortened, and secrets as (sensitive).
type Field struct {
	Action   Action
	Name     string // as Logto writes it: oidcClientMetadata.redirectUris
	Old, New string
}

// Problem is why a plan cannot be done, and what to write. A plan with one is not applied.
type Problem struct {
	Key     string // of the configuration
	Message string
}
