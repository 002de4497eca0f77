package access_test

import (
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

	fmt.Printf("%+v\n", policy.Evaluate(ann, office))
	fmt.Printf("%+v\n", policy.Evaluate(ann, home))
	fmt.Printf("%+v\n", policy.Evaluate(root, home))
	fmt.Printf("%+v\n", policy.Evaluate(nil, office))
	// Output:
	// {Allowed:true Rule:0 NetworkOnly:false}
	// {Allowed:false Rule:-1 NetworkOnly:true}
	// {Allowed:true Rule:1 NetworkOnly:false}
	// {Allowed:false Rule:-1 NetworkOnly:false}
}
