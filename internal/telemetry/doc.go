// Package telemetry owns what is told about a request: one access line, the
// metrics, and the support code that joins a page with its log line.
//
// It decides nothing. What others learn about a request on its way they write
// into the request's Exchange; the Recorder, which stands first in the chain,
// reads it when the request has ended.
//
// Invariants:
//   - no query, cookie, token or header value is logged; a path is logged as it
//     came, cut;
//   - every log line is one line: control characters are escaped, attributes are
//     cut at 2 KiB and whole lines stay under 8 KiB;
//   - metric labels come from the configuration and from our own words: nothing a
//     client sends makes a new series;
//   - the writer handed on streams, flushes, hijacks and passes 1xx answers as
//     the server's own does.
//
// Specifications: the Prometheus exposition format.
package telemetry
