// Package session owns the record of who is signed in: starting it at a sign-in,
// finding it at every request, renewing its tokens, and ending it for good.
//
// It does not talk to the identity provider, decides no access and renders
// nothing. What a store must do is the Store interface; memstore, filestore and
// redisstore implement it, storetest checks it.
//
// # How a session lives
//
// Start makes a fresh random token (never one that a browser brought), writes one
// row and then the cookie. Lookup reads the row and the markers, and answers for a
// touch interval from what it has found, as long as it knows of everything that may
// have ended meanwhile. Update is a compare-and-set, Touch moves the time of last use
// alone, and neither can create a row: what has ended stays ended. Ending writes a
// marker first, by the store's clock, then publishes it in the store's log, and then
// removes rows; sessions created before or at the marker are over even where a row
// survived.
//
// # Replicas
//
// Each process reads the log every half second. What it has in memory counts for one
// second after a reading began, no longer: so a request that begins a second after a
// sign-out was answered is not served, on any replica, whether or not that one can
// reach the store. A process says its own revocations again after it has lost contact
// with the store, or when the log is another one: a store that failed over may have
// forgotten them. Each revocation has its time, so saying it twice ends nothing new.
//
// # Invariants
//
//   - The store holds hashes of tokens and bodies sealed for the hash, the issuer,
//     the client and the row's version. A row under another key, of another
//     client, or of another version does not open.
//   - What a decision rests on (who, until when, since when) is read from the sealed
//     body; of the clear row only the time of last use is believed.
//   - After End has returned without an error, no Lookup of this process returns the
//     session, and no Lookup of another one that begins a second later.
//   - What is kept in memory never outlives the session's idle or absolute end, and
//     has no tokens.
//   - The absolute end is set once, at Start.
//   - A cookie that is malformed or there twice never reaches the store.
//   - A body that cannot be read is no session and no failure.
//
// # Specifications
//
// RFC 6265 sections 4.1 and 5.4 (cookies), draft-ietf-httpbis-rfc6265bis section
// 4.1.3 (the __Host- prefix).
package session
