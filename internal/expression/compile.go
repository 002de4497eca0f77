package expression

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// Problem is what is wrong with the text of an expression, and what to write.
type Problem struct {
	Line, Column int // from 1; 0: the whole
	Message      string
}

func (p *Problem) Error() string {
	switch {
	case p.Line > 1:
		return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Message)
	case p.Line == 1:
		return fmt.Sprintf("column %d: %s", p.Column, p.Message)
	}
	return p.Message
}

func problem(format string, args ...any) *Problem {
	return &Problem{Message: fmt.Sprintf(format, args...)}
}

// Names are the typed variables, sorted: request.method …
func Names() []string {
	names := make([]string, 0, len(typed)+1)
	for name := range typed {
		names = append(names, name)
	}
	names = append(names, "request.client_in()")
	slices.Sort(names)
	return names
}

// environment is the language: the same for every expression.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(adapter{}),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(clientName, clientType),
		cel.Function(clientFunction, cel.Overload("client_in_network", []*cel.Type{clientType, cel.StringType}, cel.BoolType, cel.BinaryBinding(clientIn))),
		cel.Macros(append(slices.Clone(cel.StandardMacros), cel.ReceiverVarArgMacro("client_in", expandClientIn))...),
		cel.ParserExpressionSizeLimit(MaxText), cel.ParserRecursionLimit(maxNesting), cel.ParserErrorRecoveryLimit(1),
		cel.ExpressionNodeLimit(maxNodes), cel.RegexProgramSizeLimit(maxRegex),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	}
	for name, t := range typed {
		options = append(options, cel.Variable(name, t))
	}
	return cel.NewEnv(options...)
})

// expandClientIn makes request.client_in("10.0.0.0/8", …) what it means: one of the networks has the client's address.
func expandClientIn(eh cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	if target.Kind() != ast.IdentKind || target.AsIdent() != "request" {
		return nil, eh.NewError(target.ID(), "only a request has client_in; write request.client_in(\"10.0.0.0/8\")")
	}
	if len(args) == 0 {
		return nil, eh.NewError(target.ID(), "client_in names no network; write request.client_in(\"10.0.0.0/8\")")
	}
	var any ast.Expr
	for _, arg := range args {
		text, ok := constant(arg)
		prefix, err := netip.ParsePrefix(text)
		switch {
		case !ok:
			return nil, eh.NewError(arg.ID(), "client_in takes networks in quotes; write request.client_in(\"10.0.0.0/8\")")
		case err != nil || prefix.Addr().Is4In6():
			return nil, eh.NewError(arg.ID(), fmt.Sprintf("%q is no network; write one like 10.0.0.0/8 or 2001:db8::/32", text))
		case prefix.Masked() != prefix:
			return nil, eh.NewError(arg.ID(), fmt.Sprintf("%q has bits beyond its length; write %s", text, prefix.Masked()))
		}
		one := eh.NewCall(clientFunction, eh.NewIdent(clientName), eh.Copy(arg))
		if any == nil {
			any = one
		} else {
			any = eh.NewCall(operators.LogicalOr, any, one)
		}
	}
	return any, nil
}

// Compile checks an expression. The error is a *Problem, which says where and what to write.
func Compile(text string) (*Program, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, problem("is empty; write one like \"admin\" in claims.roles")
	case utf8.RuneCountInString(text) > MaxText:
		return nil, problem("is longer than %d characters; write a shorter one, or several entries of `allow`", MaxText)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("making the language of expressions: %w", err)
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, told(issues, nil)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, told(issues, parsed.NativeRep())
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, problem("is a %s, not true or false; write a comparison, like claims.sub == \"x\"", t)
	}
	p := &Program{text: text}
	found := &looker{program: p, ast: checked.NativeRep(), lists: map[int64]bool{}}
	if err := found.look(); err != nil {
		return nil, err
	}
	usual, err := env.EstimateCost(checked, sizes{text: assumedText, lists: found.lists})
	if err == nil && usual.Max > maxEstimate {
		return nil, problem("may cost too much for a request; write it with fewer lists inside one another, or with texts in quotes")
	}
	worst, worstErr := env.EstimateCost(checked, sizes{text: longest, lists: found.lists})
	if err = errors.Join(err, worstErr); err != nil {
		return nil, problem("its cost cannot be estimated; write a simpler one")
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if found.open || worst.Max > maxCost {
		p.timed = found.loops
		options = append(options, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(checkInterval))
	}
	if p.program, err = env.Program(checked, options...); err != nil {
		return nil, problem("cannot be used (%v); write another", err)
	}
	return p, nil
}

// told makes CEL's first complaint ours. parsed is the expression, if it could be read.
func told(issues *cel.Issues, parsed *ast.AST) error {
	list := issues.Errors()
	if len(list) == 0 {
		return problem("cannot be read (%v); write another", issues.Err())
	}
	slices.SortStableFunc(list, func(a, b *cel.Error) int {
		return (a.Location.Line()-b.Location.Line())*MaxText + a.Location.Column() - b.Location.Column()
	})
	first := list[0]
	p := &Problem{Line: max(1, first.Location.Line()), Column: first.Location.Column() + 1, Message: first.Message}
	switch {
	case strings.HasPrefix(first.Message, "Syntax error: "):
		what, _, _ := strings.Cut(strings.TrimPrefix(first.Message, "Syntax error: "), " expecting ")
		p.Message = "is no expression (" + what + "); write one like \"admin\" in claims.roles"
	case strings.Contains(first.Message, " limit"):
		p.Line, p.Message = 0, "is too long or too deep ("+first.Message+"); write a simpler one, or several entries of `allow`"
	case strings.HasPrefix(first.Message, "invalid "):
		p.Message = first.Message + "; write one in quotes that can be read: \"1h30m\", \"2026-01-31T12:00:00Z\" or a pattern of RE2"
	case strings.HasPrefix(first.Message, "undeclared reference to "):
		p.unknown(first.Message, parsed)
	case strings.HasPrefix(first.Message, "undefined field "), strings.HasPrefix(first.Message, "type '"):
		p.Message = first.Message + "; write what the value has"
	case !strings.Contains(first.Message, "; write "):
		p.Message = first.Message + "; write a value of the other type, or convert it with string(…), int(…) or timestamp(…)"
	}
	return p
}

// unknown says which name is not there, and which are. It moves the place to the member that is meant.
func (p *Problem) unknown(text string, parsed *ast.AST) {
	name, _, _ := strings.Cut(strings.Split(text, "'")[1], ".")
	if name != "request" && name != "session" || parsed == nil {
		p.Message = fmt.Sprintf("there is no %q; write claims, request or session, or a function of CEL", name)
		return
	}
	var there []string
	for _, one := range Names() {
		if field, ok := strings.CutPrefix(one, name+"."); ok {
			there = append(there, field)
		}
	}
	p.Message = fmt.Sprintf("%s is no value by itself; write %s. and one of %s", name, name, strings.Join(there, ", "))
	ast.PostOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind || e.AsSelect().Operand().AsIdent() != name {
			return
		}
		field := e.AsSelect().FieldName()
		_, known := typed[name+"."+field]
		switch {
		case known && e.AsSelect().IsTestOnly():
			p.Message = fmt.Sprintf("a %s always has what it has; write it without has()", name)
		case known:
			return
		default:
			p.Message = fmt.Sprintf("a %s has no %q; write one of %s", name, field, strings.Join(there, ", "))
		}
		if at := parsed.SourceInfo().GetStartLocation(e.ID()); at.Line() > 0 {
			p.Line, p.Column = at.Line(), at.Column()+1
		}
	}))
}

// constant is the text of a constant.
func constant(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// sizes tells the estimate how long things may be.
type sizes struct {
	text  uint64
	lists map[int64]bool // looker.lists
}

// EstimateSize implements cost.Estimator.
func (s sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	most := s.text
	if kind := n.Type().Kind(); kind == types.ListKind || kind == types.MapKind || n.Expr() != nil && s.lists[n.Expr().ID()] {
		most = MaxList
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(function, overload string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function == clientFunction {
		return &cost.CallEstimate{CostEstimate: cost.FixedCostEstimate(2)}
	}
	return nil
}

// looker goes through a checked expression: notes which claims it looks at and what bounds its cost, and refuses what CEL lets
// pass.
type looker struct {
	program *Program
	ast     *ast.AST
	depth   int            // of loops around
	loops   bool           // it goes over lists
	lists   map[int64]bool // :: id of an expression → it is gone over, so that it is a list or a map
	open    bool           // it makes lists and texts, whose length the estimate does not know for certain
	err     *Problem
}

func (l *looker) look() error {
	l.visit(l.ast.Expr())
	slices.Sort(l.program.claims)
	l.program.claims = slices.Compact(l.program.claims)
	if l.err != nil {
		return l.err
	}
	return nil
}

func (l *looker) refuse(e ast.Expr, format string, args ...any) {
	if l.err != nil {
		return
	}
	p := problem(format, args...)
	if at := l.ast.SourceInfo().GetStartLocation(e.ID()); at.Line() > 0 {
		p.Line, p.Column = at.Line(), at.Column()+1
	}
	l.err = p
}

// visit looks at an expression and at what is in it.
func (l *looker) visit(e ast.Expr) {
	if path, ok := claimPath(e); ok {
		if path == "" {
			l.program.dynamic = true
		} else {
			l.program.claims = append(l.program.claims, path)
		}
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		l.visit(e.AsSelect().Operand())
	case ast.CallKind:
		l.visitCall(e)
	case ast.ListKind:
		l.visitAll(e.AsList().Elements())
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			l.visit(entry.AsMapEntry().Key())
			l.visit(entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		l.refuse(e, "makes an object of type %s, which nobody compares; write what is compared", e.AsStruct().TypeName())
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		_, claim := claimPath(c.IterRange())
		l.loops = true
		l.lists[c.IterRange().ID()] = true
		l.open = l.open || l.depth > 0 || !claim && c.IterRange().Kind() != ast.ListKind
		for _, name := range []string{c.IterVar(), c.IterVar2(), c.AccuVar()} {
			if name == "claims" || name == "request" || name == "session" {
				l.refuse(e, "%q already has a meaning; write another name for the element", name)
			}
		}
		l.visit(c.IterRange())
		l.depth++
		l.visitAll([]ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()})
		l.depth--
	}
}

func (l *looker) visitAll(list []ast.Expr) {
	for _, e := range list {
		l.visit(e)
	}
}

// plain are the functions that make nothing longer than what they are given.
var plain = []string{
	operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
	operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.NotStrictlyFalse,
	operators.In, operators.Index, operators.Subtract, operators.Negate, clientFunction,
	overloads.StartsWith, overloads.EndsWith, overloads.Contains, overloads.Matches, overloads.Size,
	overloads.TypeConvertDuration, overloads.TypeConvertTimestamp, overloads.TypeConvertInt, overloads.TypeConvertDouble, overloads.TypeConvertBool,
}

func (l *looker) visitCall(e ast.Expr) {
	call := e.AsCall()
	l.open = l.open || !slices.Contains(plain, call.FunctionName())
	switch call.FunctionName() {
	case overloads.Matches:
		args := call.Args()
		target := call.Target()
		if !call.IsMemberFunction() && len(args) > 0 {
			target, args = args[0], args[1:]
		}
		if len(args) == 1 {
			if _, ok := constant(args[0]); !ok {
				l.refuse(e, "the pattern of matches() is no constant; write it in quotes")
			}
		}
		if reference := l.ast.ReferenceMap()[target.ID()]; reference != nil && reference.Name == "request.path" {
			l.refuse(e, "matches a path against a pattern, which is the usual way around a rule; write startsWith() or a route of its own")
		}
	case operators.In:
		if args := call.Args(); len(args) == 2 {
			l.lists[args[1].ID()] = true
			name, ok := constant(args[0])
			if path, claims := claimPath(args[1]); ok && claims && path == "" {
				l.program.claims = append(l.program.claims, name)
				return
			}
		}
	}
	if call.IsMemberFunction() {
		l.visit(call.Target())
	}
	l.visitAll(call.Args())
}

// claimPath is the path of the claim that an expression stands for: claims.a["b"] is a.b, claims alone "".
func claimPath(e ast.Expr) (path string, ok bool) {
	switch e.Kind() {
	case ast.IdentKind:
		return "", e.AsIdent() == "claims"
	case ast.SelectKind:
		below, ok := claimPath(e.AsSelect().Operand())
		return join(below, e.AsSelect().FieldName()), ok
	case ast.CallKind:
		if call := e.AsCall(); call.FunctionName() == operators.Index && len(call.Args()) == 2 {
			below, ok := claimPath(call.Args()[0])
			name, isText := constant(call.Args()[1])
			return join(below, name), ok && isText
		}
	}
	return "", false
}

func join(below, name string) string {
	if below == "" {
		return name
	}
	return below + "." + name
}
