// Package authflow signs people in and out: it starts a sign-in at Logto, finishes it at the callback, ends it at
// the sign-out, keeps the tokens of a session fresh, and shows the few pages that belong to that.
//
// It owns the attempt (a sealed cookie for each sign-in that was started), the state (sealed too), the return path,
// the answer to a request that needs sign-in, and the revocation queue. It does not own the session (package
// session), the protocol calls (package logto) or the decision (package guard).
//
// Invariants: an anonymous request writes nothing to a store, except the consumed-state mark of a callback that
// brings an attempt we sealed; a state is consumed before the token call; a redirect goes to a ReturnPath on the
// host that was asked for, or to Logto; a session that was ended is never brought back by a call that was under way.
//
// Specifications: RFC 6749 4.1, RFC 7636, RFC 7009, RFC 9207, OpenID Connect Core 1.0 3.1 and 12, OpenID Connect
// RP-Initiated Logout 1.0, Fetch Metadata Request Headers.
package authflow
