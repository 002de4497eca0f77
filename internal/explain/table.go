package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"portero/internal/gateway"
	"portero/internal/guard"
	"portero/internal/identity"
)

// Nobody is who is not signed in.
const Nobody = "nobody"

// maxCases bounds a table.
const maxCases = 100_000

// Table is who is let in where, as somebody wants it.
type Table struct {
	Cases []Case
}

// Case is one request, and what is to become of it.
type Case struct {
	Line     int    // in the file
	Who      string // a person of the table, or Nobody
	Question gateway.Question
	Want     Want
}

// Name says which request it is.
func (c Case) Name() string {
	name := c.Who + " " + c.Question.Method + " " + c.Question.URL
	if c.Question.Client.IsValid() {
		name += " from " + c.Question.Client.String()
	}
	return name
}

// Want is what an answer has to be. What is empty may be anything.
type Want struct {
	Decision, Reason, Rule, Route string
	Headers                       map[string]*string // nil: the header is not there
}

// The file, as YAML.
type (
	file struct {
		People map[string]person `yaml:"people"`
		Tests  []entry           `yaml:"tests"`
	}
	person struct {
		Claims map[string]any `yaml:"claims"`
		Age    string         `yaml:"age"`
	}
	entry struct {
		Who     words              `yaml:"who"`
		Method  words              `yaml:"method"`
		URL     words              `yaml:"url"`
		From    words              `yaml:"from"`
		Want    string             `yaml:"want"`
		Reason  string             `yaml:"reason"`
		Rule    string             `yaml:"rule"`
		Route   string             `yaml:"route"`
		Headers map[string]*string `yaml:"headers"`

		line int
	}
)

// entryKeys are the members of an entry.
var entryKeys = []string{"who", "method", "url", "from", "want", "reason", "rule", "route", "headers"}

// UnmarshalYAML reads an entry and where it stands.
func (e *entry) UnmarshalYAML(node *yaml.Node) error {
	type plain entry
	if err := node.Decode((*plain)(e)); err != nil {
		return err
	}
	for i := 0; i < len(node.Content); i += 2 { // the strictness of the decoder ends at a method like this
		if key := node.Content[i]; !slices.Contains(entryKeys, key.Value) {
			return fmt.Errorf("line %d: %q is unknown; write one of %s", key.Line, key.Value, strings.Join(entryKeys, ", "))
		}
	}
	e.line = node.Line
	return nil
}

// words is one text, or a list of them.
type words []string

// UnmarshalYAML reads either form.
func (w *words) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*w = words{node.Value}
		return nil
	}
	var list []string
	if err := node.Decode(&list); err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("line %d: the list is empty, so nothing would be tried", node.Line)
	}
	*w = list
	return nil
}

// somebody is a person who is ready to ask.
type somebody struct {
	claims identity.Claims // nil: Nobody
	age    time.Duration
}

// ReadTable reads a table. All that is wrong with it is in the error, and then there is none.
func ReadTable(data []byte) (Table, error) {
	var f file
	if err := decodeStrictly(data, &f); err != nil {
		return Table{}, err
	}
	var problems []error
	people := map[string]somebody{Nobody: {}}
	for name, p := range f.People {
		one, err := p.read()
		switch {
		case name == Nobody:
			err = errors.New("nobody is who is not signed in, and has no claims; write another name")
		case err == nil:
			people[name] = one
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("people.%s: %w", name, err))
		}
	}
	var t Table
	if len(f.Tests) == 0 {
		problems = append(problems, errors.New("tests: there are none"))
	}
	for _, e := range f.Tests {
		if err := t.add(e, people); err != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", e.line, err))
		}
	}
	if len(t.Cases) > maxCases {
		problems = append(problems, fmt.Errorf("tests: more than %d requests", maxCases))
	}
	if err := errors.Join(problems...); err != nil {
		return Table{}, err
	}
	return t, nil
}

// decodeStrictly reads one document of YAML without members that nobody knows.
func decodeStrictly(data []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	switch err := d.Decode(into); {
	case errors.Is(err, io.EOF):
		return errors.New("there is nothing in it")
	case err != nil:
		return err
	}
	if !errors.Is(d.Decode(new(any)), io.EOF) {
		return errors.New("there is more than one document in it")
	}
	return nil
}

func (p person) read() (somebody, error) {
	claims, err := Claims(p.Claims)
	if err != nil || p.Age == "" {
		return somebody{claims: claims}, err
	}
	age, err := time.ParseDuration(p.Age)
	if err != nil || age < 0 {
		return somebody{}, fmt.Errorf("age: %q is no duration; write one like 90m", p.Age)
	}
	return somebody{claims, age}, nil
}

// add adds the requests of one entry: every person, method, URL and address of it with every other.
func (t *Table) add(e entry, people map[string]somebody) error {
	switch {
	case len(e.Who) == 0:
		return errors.New("who is missing; write a name of people, or nobody")
	case len(e.URL) == 0:
		return errors.New("url is missing")
	case !slices.Contains([]string{guard.Allow.String(), guard.SignIn.String(), guard.Deny.String()}, e.Want):
		return fmt.Errorf("want: %q is no decision; write allow, sign-in or deny", e.Want)
	}
	if len(e.Method) == 0 {
		e.Method = words{http.MethodGet}
	}
	clients := []netip.Addr{{}}
	for i, from := range e.From {
		addr, err := netip.ParseAddr(from)
		if err != nil {
			return fmt.Errorf("from: %q is no address", from)
		}
		if i == 0 {
			clients = nil
		}
		clients = append(clients, addr)
	}
	want := Want{Decision: e.Want, Reason: e.Reason, Rule: e.Rule, Route: e.Route, Headers: map[string]*string{}}
	for name, value := range e.Headers {
		want.Headers[http.CanonicalHeaderKey(name)] = value
	}
	for _, who := range e.Who {
		one, known := people[who]
		if !known {
			return fmt.Errorf("who: %q is nobody of people", who)
		}
		for _, method := range e.Method {
			for _, u := range e.URL {
				for _, client := range clients {
					q := gateway.Question{Method: method, URL: u, Claims: one.claims, Age: one.age, Client: client}
					t.Cases = append(t.Cases, Case{e.line, who, q, want})
				}
			}
		}
	}
	return nil
}

// Result is what came out of a case.
type Result struct {
	Case   Case
	Wrong  []string // what is otherwise than wanted, each a part of a sentence; none: it passed
	Answer Answer   // the zero value where the question could not be asked
}

// Run asks for every request of the table.
func (t Table) Run(ctx context.Context, e *gateway.Explainer) []Result {
	results := make([]Result, 0, len(t.Cases))
	for _, c := range t.Cases {
		x, err := e.Explain(ctx, c.Question)
		if err != nil {
			results = append(results, Result{Case: c, Wrong: []string{err.Error()}})
			continue
		}
		a := New(x)
		results = append(results, Result{c, c.Want.compare(a), a})
	}
	return results
}

// compare says what differs.
func (w Want) compare(a Answer) (wrong []string) {
	for _, one := range []struct{ name, want, got string }{
		{"decision", w.Decision, a.Decision}, {"reason", w.Reason, a.Reason}, {"rule", w.Rule, a.Rule}, {"route", w.Route, a.Route},
	} {
		if one.want != "" && one.want != one.got {
			wrong = append(wrong, fmt.Sprintf("%s: want %s, got %s", one.name, one.want, orNone(one.got)))
		}
	}
	for name, want := range w.Headers {
		got, there := a.Headers[name]
		switch {
		case want == nil && there:
			wrong = append(wrong, fmt.Sprintf("header %s: want none, got %q", name, got))
		case want != nil && !slices.Equal(got, []string{*want}):
			wrong = append(wrong, fmt.Sprintf("header %s: want %q, got %q", name, *want, got))
		}
	}
	slices.Sort(wrong)
	return wrong
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Print writes results for people: what failed, with what each rule says, and how many did. name is the table's file; all:
// what passed, too. It says how many failed.
func Print(w io.Writer, name string, results []Result, all bool) (failed int, err error) {
	var b bytes.Buffer
	for _, r := range results {
		place := fmt.Sprintf("%s:%d: %s", name, r.Case.Line, r.Case.Name())
		switch {
		case len(r.Wrong) > 0:
			failed++
			fmt.Fprintf(&b, "FAIL %s: %s\n", place, strings.Join(r.Wrong, "; "))
			r.Answer.why(&b)
		case all:
			fmt.Fprintf(&b, "ok %s\n", place)
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed\n", len(results)-failed, failed)
	_, err = w.Write(b.Bytes())
	return failed, err
}

// why writes what is behind an answer that was not wanted.
func (a Answer) why(b *bytes.Buffer) {
	if a.Reason != "" {
		fmt.Fprintf(b, "    reason: %s (%s)\n", a.Reason, a.Sentence)
	}
	for _, r := range a.Rules {
		fmt.Fprintf(b, "    %s\n", r)
	}
}
