package access_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"portero/internal/access"
	"portero/internal/identity"
)

func ExamplePolicy_Evaluate() {
	policy, err := access.NewPolicy([]access.Rule{
		{EmailDomains: []string{"example.com"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{Roles: []string{"admin"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ann := &identity.Identity{Subject: "u1", Email: "ann@example.com"}
	root := &identity.Identity{Subject: "u2", Roles: []string{"admin"}}
	office, home := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.9")

	ask := func(who *identity.Identity, client netip.Addr) {
		v := policy.Evaluate(context.Background(), who, &access.Request{Client: client})
		fmt.Println(v.Allowed, policy.Name(v.Rule), v.NetworkOnly)
	}
	ask(ann, office)
	ask(ann, home)
	ask(root, home)
	ask(nil, office)
	// Output:
	// true allow[0] false
	// false  true
	// true allow[1] false
	// false  false
}
