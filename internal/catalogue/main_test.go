// Package catalogue_test is a catalogue of attacks on gateways, family by family, each case under its id with what has
// to happen and who fell for it, tried from outside against the program itself.
//
// It owns the cases, the raw requests they are made of, and what holds for every answer: no session that nobody asked
// for, nothing at the application of a protected route, and nothing secret in any log, metric or page, which each
// program under test is searched for when its test ends.
//
// Requests leave byte by byte over HTTP/1.1, inside TLS and plain, and frame by frame over HTTP/2. Few cases need a clock
// that can be moved; they say so and run on a gateway inside the test. Cases about other servers need those; without
// them they are skipped, unless PORTERO_TEST_REAL=1 says that they have to run.
//
// docs/attacks.md is written from the catalogue: go test ./internal/catalogue -run TestDocument -update.
package catalogue_test

import (
	"flag"
	"slices"
	"testing"

	"portero/internal/gatewaytest"
)

var update = flag.Bool("update", false, "write docs/attacks.md")

func TestMain(m *testing.M) { gatewaytest.Main(m) }

// attack is one case of the catalogue.
type attack struct {
	ID   string // such as HS-01
	Name string // what is tried, in a few words
	Want string // what has to happen
	Why  string // who fell for it, or what makes it worth trying; "": what the name says
	// Test tries it. nil: it is not tried, and Missing says why.
	Test func(t *testing.T, d *doors)
	// Missing is what is not tried, and why. "": nothing.
	Missing string
}

// family is a kind of attack.
type family struct {
	ID, Title string
	Attacks   []attack
}

// knownFamilies are the attacks that gateways are known for.
var knownFamilies = []family{
	identityHeaders, openRedirects, paths, hosts, trustedProxies,
	states, callbacks, sessions, cookies, signOuts, backchannelLogouts,
	idTokens, refreshes, issuerFaults, framing, http2Frames, methods, webSockets,
	claims, denials, ownPages, caching, transport, exhaustion, upstreamFaults, storeFaults, logs, operation, configuration,
}

// ownFamilies are attacks on what this gateway has of its own.
var ownFamilies = []family{invitations, forwardAuths, accessTokens, otherOrigins, signedAssertions, conditions}

// families are all of them, in the order of the document.
var families = slices.Concat(knownFamilies, ownFamilies)

// TestCatalogue tries every attack. One of them is -run 'TestCatalogue/HS/HS-03'.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	for _, f := range families {
		t.Run(f.ID, func(t *testing.T) {
			t.Parallel()
			d := &doors{t: t}
			for _, a := range f.Attacks {
				if a.Test != nil {
					t.Run(a.ID, func(t *testing.T) { a.Test(t, d) })
				}
			}
		})
	}
}
