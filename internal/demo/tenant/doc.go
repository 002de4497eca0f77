// Package tenant is Logto's Management API over a tenant in memory: applications and their secrets, the e-mail connector, the sign-in
// experience, API resources, roles and one-time tokens, with Logto's statuses, bodies, guards and surprises.
//
// It is what the demonstration serves, and the contract fake of everything that sets a tenant up. It does not ask who calls: demo/provider
// checks the token first, reads from here which applications, secrets and ways to sign in there are, and owns people, sessions and signing
// keys. It shares no code with the client of this API.
//
// Invariants:
//   - Metadata of an application, and the configuration of a connector, are replaced whole; other members one by one.
//   - What a guard refuses changes nothing.
//   - A tenant has one e-mail connector at most.
package tenant
