// Package page owns every page that people see from the gateway itself: its words
// in English and Spanish, its look, its headers, and the form the same answer takes
// for readers that are no browsers (JSON, one line of text).
//
// It does not decide anything: which page, which status, which link a button has
// and whether there is a support code is said by the caller in a [Page]. It reads no
// store and calls nobody; after [New] everything is answered from memory. The pages
// of the demonstration, the console and the mail live with their owners.
//
// Invariants:
//   - No page has a script, an inline style or an event attribute, and the one style
//     sheet is named by its hash in the policy.
//   - Everything that came from a person or the net is escaped, isolated with bdi and
//     cut at [maxShown] characters. The page unknown-host shows nothing that was configured.
//   - An answer that cannot be built is the page unavailable, never an empty 200.
//   - Every answer is Cache-Control: no-store; only the logo may be cached.
//
// Specifications: RFC 9110 sections 12.4.2 (quality values), 12.5.1 (Accept),
// 12.5.4 (Accept-Language) and 10.2.3 (Retry-After); Content Security Policy
// Level 3; Fetch Metadata Request Headers; WCAG 2.2 (relative luminance, AA).
package page
