// Package provider is the OpenID provider of the demonstration and of the tests: it behaves as Logto does, so that what signs people in
// against it signs them in against a real tenant.
//
// It owns people, browser sessions, interactions, grants, tokens, signing keys, one-time codes and the pages a person sees on the way, and
// what the Management API says of people, sessions and keys. Which applications there are, what their secrets are and how people sign in it
// asks of a tenant (demo/tenant), which answers the rest of that API. It shares no code with the relying party, so that no mistake can hide in
// both. It is no identity provider for anything else: it runs on loopback addresses only, registers whoever can read the mailbox, keeps nothing
// on disk and makes new keys at each start.
//
// Requests are parsed and validated by github.com/zitadel/oidc/v3/pkg/op (see engine); what it would answer itself differs from Logto in
// the shape of tokens, statuses and error bodies, so the answers are written here and op's own router is not served.
//
// Invariants:
//   - A browser is sent to loopback addresses, or to a web address that an application registers, and nowhere else (ParseRedirectURI).
//   - A code is redeemed once; a second redemption, or the use of a refresh token three seconds after it was replaced, ends the whole grant.
//   - The Management API answers to tokens with its scope alone: of the management client, or of an application with the role for it. There is
//     none without that client.
//   - Where registration is closed, nobody learns from the pages who is registered.
//   - A form is answered only together with the cookie of the browser it was made for.
//   - Everything a stranger can make it remember expires within an hour and is bounded in number.
//
// Specifications: OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0, Back-Channel Logout 1.0, RFC 6749, RFC 7009 (revocation),
// RFC 7636 (PKCE), RFC 9207 (issuer in authorization responses). Where Logto departs from them, it is Logto that is followed.
package provider
