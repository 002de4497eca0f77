// Package gatewaytest has what tests of the whole gateway need: a gateway with one line, a raw issuer that can be
// wrong in every way, an upstream that keeps the exact bytes it got, and a person with a browser's cookies.
//
// It is for tests alone and owns nothing that runs in production.
package gatewaytest
