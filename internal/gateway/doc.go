// Package gateway puts the parts together: it builds a generation from one configuration, answers every request with
// it, swaps it for the next one at a reload, and serves the admin listener.
//
// It owns the order in which a request meets the parts (protect.go), the table that turns errors into answers
// (fail.go), the life of a generation (generation.go, reload.go) and the listeners (gateway.go, admin.go). It decides
// nothing about access: that is package guard.
//
// Invariants: no byte reaches an upstream of a protected route without an Allow decision; a reload that fails changes
// nothing; listeners, sessions and live connections belong to no generation.
//
// Specifications: RFC 9110 (methods, 15.5.20 Misdirected Request), RFC 9209 (Proxy-Status).
package gateway
