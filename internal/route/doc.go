// Package route brings method, host and path of a request into one normal form and finds the route it belongs to.
//
// It owns the normal form, the refusal of targets that two readers could understand differently, the order in which
// routes win, and the path that leaves for the upstream. It does not own the decision (package guard) or the host a
// request is for (package forwarded).
//
// # How a route wins
//
// The host first; then the longest path, in whole segments; at the same path an exact route before a prefix route,
// and one with methods before one without. A route whose methods lack the request's is no candidate; HEAD counts as
// GET. /admin and /admin/ are the same path. Paths are case-sensitive.
//
// # Readings
//
// The path an upstream acts on is not always the path it was sent: one decodes twice, one drops ;parameters, one
// merges slashes or takes backslashes for slashes, one reads a host behind two of them. Match compares the route of
// each such reading. If two readings select different routes the request is refused; so nobody gains by a spelling,
// whatever the upstream makes of it.
// Under `paths: strict` a path that invites such readings is refused even when they agree.
//
// Invariants: the bytes that were decided on are the bytes that are forwarded: Forward returns Raw, or a tail of it
// that was checked again. Every target is read in time linear in its length. A Table and its routes never change.
//
// Specifications: RFC 3986 2, 3.3, 3.4 and 6.2.2; RFC 9110 4.2.3, 9.1 and 9.3; RFC 9112 3.2; RFC 4918, 3253, 5323
// and 3744 for methods.
package route
