package expression

import (
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// clockSlack is how far ahead of ours the clock of the provider may be.
const clockSlack = 60 * time.Second

// clientType is the type of a client's address, which only request.client_in takes.
var clientType = cel.OpaqueType("client")

const (
	clientName     = "@client" // no expression can write it
	clientFunction = "@client_in"
)

// typed are the variables with a type. // :: name → its type
var typed = map[string]*cel.Type{
	"request.method": cel.StringType, "request.scheme": cel.StringType, "request.host": cel.StringType, "request.path": cel.StringType,
	"request.client_ip": cel.StringType, "request.time": cel.TimestampType,
	"session.id": cel.StringType, "session.subject": cel.StringType, "session.signed_in_at": cel.TimestampType,
	"session.auth_time": cel.TimestampType, "session.age": cel.DurationType,
}

// variables are what the names in an expression stand for while it is evaluated.
type variables Input

// Parent implements cel.Activation: there is nothing around.
func (in *variables) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (in *variables) ResolveName(name string) (any, bool) {
	switch name {
	case "claims":
		return in.counted(), true
	case "request.method":
		return types.String(in.Method), true
	case "request.scheme":
		return types.String(in.Scheme), true
	case "request.host":
		return types.String(withoutPort(in.Host)), true
	case "request.path":
		return types.String(in.Path), true
	case "request.client_ip":
		if !in.Client.IsValid() {
			return newFault(Address), true
		}
		return types.String(in.Client.String()), true
	case clientName:
		if !in.Client.IsValid() {
			return newFault(Address), true
		}
		return client(in.Client), true
	case "request.time":
		return types.Timestamp{Time: in.now()}, true
	case "session.id":
		return types.String(in.SessionID), true
	case "session.subject":
		return types.String(in.Subject), true
	case "session.signed_in_at":
		return timestamp(in.SignedInAt), true
	case "session.auth_time":
		return timestamp(in.AuthTime), true
	case "session.age":
		age := in.now().Sub(in.AuthTime)
		if in.AuthTime.IsZero() || age < -clockSlack {
			return newFault(Sign), true
		}
		return types.Duration{Duration: max(0, age)}, true
	}
	return nil, false
}

// now is one moment for all expressions of a decision.
func (in *variables) now() time.Time {
	if in.at.IsZero() {
		if in.at = time.Now(); in.Now != nil {
			in.at = in.Now()
		}
	}
	return in.at
}

func timestamp(at time.Time) ref.Val {
	if at.IsZero() {
		return newFault(Sign)
	}
	return types.Timestamp{Time: at}
}

func withoutPort(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil && strings.Contains(host, ":") {
		if strings.Contains(name, ":") {
			return "[" + name + "]"
		}
		return name
	}
	return host
}

// counted are the claims with the address that counts.
func (in *variables) counted() ref.Val {
	if in.claims != nil {
		return in.claims
	}
	raw, there := in.Claims["email"]
	text, _ := raw.(string)
	claims := in.Claims
	if there != (in.Email != "") || text != in.Email {
		claims = make(map[string]any, len(in.Claims)+1)
		maps.Copy(claims, in.Claims)
		delete(claims, "email")
		if in.Email != "" {
			claims["email"] = in.Email
		}
	}
	in.claims = adapter{}.NativeToValue(claims)
	return in.claims
}

// adapter turns values of claims into those of CEL.
type adapter struct{}

// NativeToValue implements types.Adapter.
func (a adapter) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case string:
		return types.String(v)
	case json.Number:
		return number(string(v))
	case []any:
		if len(v) > MaxList {
			return newFault(List)
		}
		return types.NewDynamicList(a, v)
	case []string:
		if len(v) > MaxList {
			return newFault(List)
		}
		return types.NewStringList(a, v)
	case map[string]any:
		if len(v) > MaxList {
			return newFault(List)
		}
		return types.NewStringInterfaceMap(a, v)
	}
	return types.DefaultTypeAdapter.NativeToValue(value)
}

// number is an int where it is one, else a double. One that neither holds exactly enough is an error: it would equal others.
func number(text string) ref.Val {
	if !strings.ContainsAny(text, ".eE") {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(n)
		}
		return newFault(TypeOf)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return newFault(TypeOf)
	}
	return types.Double(f)
}

// fault is an error of ours inside an evaluation.
type fault struct{ kind Kind }

func (f *fault) Error() string { return string(f.kind) }

// newFault makes one that is not shared: an evaluation notes in it where it happened.
func newFault(kind Kind) ref.Val { return types.WrapErr(&fault{kind: kind}) }

// client is an address as a value of CEL.
type client netip.Addr

// ConvertToNative implements ref.Val: there is no such conversion.
func (c client) ConvertToNative(reflect.Type) (any, error) { return nil, &fault{kind: TypeOf} }

// ConvertToType implements ref.Val: there is no such conversion.
func (c client) ConvertToType(ref.Type) ref.Val { return newFault(TypeOf) }

// Equal implements ref.Val.
func (c client) Equal(other ref.Val) ref.Val {
	o, ok := other.(client)
	return types.Bool(ok && netip.Addr(o) == netip.Addr(c))
}

// Type implements ref.Val.
func (c client) Type() ref.Type { return clientType }

// Value implements ref.Val.
func (c client) Value() any { return netip.Addr(c) }

// clientIn says whether a client's address is in a network, which was checked when the expression was read.
func clientIn(address, network ref.Val) ref.Val {
	c, ok := address.(client)
	text, isText := network.(types.String)
	if !ok || !isText {
		return types.MaybeNoSuchOverloadErr(address)
	}
	prefix, err := netip.ParsePrefix(string(text))
	if err != nil {
		return newFault(TypeOf)
	}
	return types.Bool(prefix.Contains(netip.Addr(c)))
}
