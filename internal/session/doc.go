// Package session owns the record of who is signed in: starting it at a sign-in,
// finding it at every request, renewing its tokens, and ending it for good.
//
// It does not talk to the identity provider, decides no access and renders
// nothing. What a store must do is the Store interface; memstore and filestore
// implement it, storetest checks it.
//
// # How a session lives
//
// Start makes a fresh random token (never one that a browser brought), writes one
// row and then the cookie. Lookup reads the row and the markers at every request.
// Update is a compare-and-set, Touch moves the time of last use alone, and neither
// can create a row: what has ended stays ended. Ending writes a marker first, by
// the store's clock, and then removes rows; sessions created before or at the
// marker are over even where a row survived.
//
// # Invariants
//
//   - The store holds hashes of tokens and bodies sealed for the hash, the issuer,
//     the client and the row's version. A row under another key, of another
//     client, or of another version does not open.
//   - What a decision rests on (who, until when, since when) is read from the sealed
//     body; of the clear row only the time of last use is believed.
//   - After End has returned without an error, no Lookup returns the session.
//   - The absolute end is set once, at Start.
//   - A cookie that is malformed or there twice never reaches the store.
//   - A body that cannot be read is no session and no failure.
//
// # Specifications
//
// RFC 6265 sections 4.1 and 5.4 (cookies), draft-ietf-httpbis-rfc6265bis section
// 4.1.3 (the __Host- prefix).
package session
