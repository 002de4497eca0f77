// Package expression is the language of conditions that the fields of a rule cannot say: CEL, over the claims of a person,
// their request and their session.
//
// It owns the variables, the check of an expression before it counts (its types, its result, its estimated cost, the claims
// that it looks at) and its evaluation within bounds. It does not own which rule has it, or what follows when it does not hold.
//
// # Variables
//
// claims is dynamic: what is there is known when somebody comes, and a member that is missing then is an error, save in
// has(claims.x). Objects are maps, numbers are int where they are one and double elsewhere. claims.email is there only when the
// address counts, in lower case. request and session are typed: a name that is not among [Names] is an error at load. The query
// of a request is not among them: queries carry codes and tokens, and nothing that is confidential decides or is told.
//
// Invariants: an expression that is not a bool, costs too much, matches against a pattern that is no constant, or names what
// does not exist is refused by [Compile]. Evaluation has no side effects, ends within its cost and its time, and says true only
// when the expression is true; everything else is false or an error, and an error never has a value of a claim in it.
//
// Specifications: the Common Expression Language, cel-spec v0.24 (types, macros, errors of && and ||).
package expression
