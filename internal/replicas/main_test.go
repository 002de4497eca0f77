// Package replicas_test tries several replicas of Portero on one Redis, as an operator runs them: processes of the real
// program, each with its own configuration file, its own ports and its own link to a real Redis, behind one external URL.
//
// It owns the processes and what is done to them: killing, pausing, ending, starting again, and cutting, stalling and
// slowing their links. Issuer, upstream and clients are in the process of the tests.
//
// What replicas promise about sign-outs is checked in two ways: by scripts that measure, and by histories of many
// clients under random faults, of which porcupine says whether the promise can have been kept.
//
// A machine without redis-server skips these tests, unless PORTERO_TEST_REAL=1 says that they have to run. Nothing is
// left of them: no process, no port and no file.
package replicas_test

import (
	"testing"

	"portero/internal/gatewaytest"
)

func TestMain(m *testing.M) { gatewaytest.Main(m) }
