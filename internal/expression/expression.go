package expression

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// Bounds of an expression.
const (
	MaxText    = 4096 // code points of its text
	MaxList    = 1000 // entries of a list, or members of an object, that it looks at
	maxNodes   = 1000
	maxNesting = 40
	maxRegex   = 1000     // instructions of a compiled pattern
	longest    = 64 << 10 // bytes of a text that it looks at: all claims together have no more

	// maxEstimate is the cost that an expression may be estimated to have, in CEL's units, for lists of MaxList entries and
	// texts of assumedText characters.
	maxEstimate = 1_000_000
	assumedText = 256

	// maxCost is what an evaluation may cost, which is some milliseconds; it ends there, and after maxTime whatever it cost.
	// Nobody counts where no claims could make it cost as much.
	maxCost       = 100_000
	maxTime       = 250 * time.Millisecond
	checkInterval = 100 // turns of a loop between two looks at the clock
)

// Kind says why an expression could not be evaluated, in one stable word.
type Kind string

// The kinds.
const (
	Missing  Kind = "missing-member" // a claim, or a member of one, is not there
	List     Kind = "list-too-long"  // a list has more than MaxList entries, or an object as many members
	Cost     Kind = "cost"           // it would cost too much
	Time     Kind = "interrupted"    // it took too long, or whoever asked has left
	TypeOf   Kind = "type"           // a value is of a type that the expression does not expect
	Address  Kind = "client-unknown" // nobody knows the client's address
	Sign     Kind = "session-time"   // nobody knows when the person signed in
	Internal Kind = "internal"       // the evaluation broke off
)

// Error is why an evaluation says neither true nor false. It names no value.
type Error struct {
	Kind Kind
}

// KindOf is the kind of an error of Eval.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

func (e *Error) Error() string { return "the expression cannot be evaluated: " + string(e.Kind) }

// Input is what the expressions of one decision are about. One goroutine uses it, and nobody modifies what it points to.
type Input struct {
	// Claims are the verified claims, of the types that identity.ParseClaims makes. What they say about `email` does not
	// count: Email does.
	Claims map[string]any
	Email  string // the address that counts, in lower case; "" none

	Method, Scheme, Host, Path string     // Host may have its port, which counts for nothing
	Client                     netip.Addr // invalid: unknown

	SessionID, Subject string
	SignedInAt         time.Time // when the session began
	AuthTime           time.Time // when the provider saw the person; zero: unknown

	Now func() time.Time // asked once, where an expression asks; nil: time.Now

	claims ref.Val   // Claims with Email, once an expression has asked
	at     time.Time // what Now said
}

// Program is an expression that was checked.
type Program struct {
	text    string
	program cel.Program
	timed   bool // it is interrupted when it takes too long
	claims  []string
	dynamic bool
}

// Text is the expression as it was written.
func (p *Program) Text() string { return p.text }

// Claims are the paths of the claims that the expression looks at, as identity.Claims.Lookup takes them. dynamic says that it
// looks at others too, whose names are known only when somebody comes.
func (p *Program) Claims() (paths []string, dynamic bool) { return p.claims, p.dynamic }

// Eval says whether the expression is true. The error is an *Error.
func (p *Program) Eval(ctx context.Context, in *Input) (bool, error) {
	out, err := p.run(ctx, (*variables)(in))
	if err != nil {
		return false, &Error{Kind: kindOf(err)}
	}
	result, ok := out.(types.Bool)
	if !ok {
		return false, &Error{Kind: TypeOf}
	}
	return bool(result), nil
}

func (p *Program) run(ctx context.Context, v *variables) (ref.Val, error) {
	if !p.timed {
		out, _, err := p.program.Eval(v)
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	out, _, err := p.program.ContextEval(ctx, v)
	return out, err
}

// kindOf finds out what kind of error an evaluation ended with. Its text is not kept: it may have a value in it.
func kindOf(err error) Kind {
	var ours *fault
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &ours):
		return ours.kind
	case errors.As(err, &cancelled):
		if cancelled.Cause == interpreter.CostLimitExceeded {
			return Cost
		}
		return Time
	case errors.Is(err, interpreter.InterruptError{}):
		return Time
	}
	text := err.Error() // for want of types that are exported
	switch {
	case strings.HasPrefix(text, "no such key"), strings.HasPrefix(text, "no such attribute"), strings.HasPrefix(text, "index out of bounds"):
		return Missing
	case strings.HasPrefix(text, "internal error"):
		return Internal
	}
	return TypeOf
}
