package authflow

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// sealedInvitation was sealed once, constant because the fuzzer's processes must agree; it also pins the format: links
// that are in mails open after an update.
const sealedInvitation = "AaC1JJr1Ulf6Hxo5lkjNhmYUiOTEvpd5QGIthiD_CLOhQ8jDLpH9ndalORxLRu2BX6t28R1TOCOvl3BO0hZLLzPiR6y__Yn82B9u07ggVM6DpDVTPxFPCphVSkJe2IOkR8R5VJoI-8Yt4go33chHsyXAgehXSvj0xuAByHispqClV4zoffgdtVM"

func TestInvitationFormat(t *testing.T) {
	t.Parallel()
	flow := opener(t)
	flow.Endpoints.Prefix = "/_portero"
	to, _ := ParseReturnPath("/handbook?x=1")
	link, err := flow.Invite(Invitation{Token: "token-1", Email: "ann@example.com", Host: "gw.test", To: to, Ends: time.Unix(1800000000, 0)})
	text, ok := strings.CutPrefix(link, "https://gw.test/_portero/invitation?i=")
	if err != nil || !ok || text != url.QueryEscape(text) {
		t.Fatalf("got %s, %v", link, err)
	}
	for name, query := range map[string]string{"new": text, "old": sealedInvitation} {
		got, err := flow.openInvitation("gw.test", "i="+query)
		if want := (invitation{Token: "token-1", Email: "ann@example.com", Return: "/handbook?x=1", Ends: 1800000000}); err != nil || *got != want {
			t.Errorf("%s: got %+v, %v; links in mails are lost\n%s", name, got, err, text)
		}
	}
}

// What is sealed is looked at once more: a secret that others have too, or a version to come, could seal anything.
func TestInvitationWithHoles(t *testing.T) {
	t.Parallel()
	flow := opener(t)
	for _, plain := range []string{"", "null", "{}", "[]", `"x"`, `{"Token":"x"}`, `{"Email":"ann@example.com"}`, `{"Token":"","Email":"ann@example.com"}`, `{"Token":1,"Email":"a"}`, `{"Token":"x","Email":"y"`} {
		if got, err := flow.openInvitation("gw.test", "i="+flow.Keys.SealText(purposeInvitation, []byte(plain), flow.bind("gw.test"))); err == nil {
			t.Errorf("%s: got %+v, want an error", plain, got)
		}
	}
	for _, purpose := range []string{purposeState, purposeAttempt, purposeSignedOut, "", "session"} {
		whole, err := json.Marshal(invitation{Token: "x", Email: "ann@example.com", Return: "/", Ends: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := flow.openInvitation("gw.test", "i="+flow.Keys.SealText(purpose, whole, flow.bind("gw.test"))); err == nil {
			t.Errorf("sealed for %q: got %+v, want an error", purpose, got)
		}
	}
}

// FuzzInvitation: no link opens but the one that was sealed, for its host alone and in its one spelling, whatever stands
// beside it.
func FuzzInvitation(f *testing.F) {
	flow := opener(f)
	f.Add("gw.test", "i="+sealedInvitation)
	f.Add("gw.test", "utm=1&i="+sealedInvitation+"&x")
	f.Add("gw.test", "i="+sealedInvitation+"&i="+sealedInvitation)
	f.Add("gw.test", "i="+sealedInvitation+"&%69=x")
	f.Add("gw.test", "i="+strings.ToLower(sealedInvitation))
	f.Add("gw.test", "i="+sealedInvitation+"%0A")
	f.Add("gw.test", "i="+sealedInvitation[:len(sealedInvitation)-1])
	f.Add("gw.test", "I="+sealedInvitation)
	f.Add("gw.test", "i="+sealedInvitation+";x")
	f.Add("other.test", "i="+sealedInvitation)
	f.Add("gw.test", "i="+sealedState)
	f.Add("gw.test", "i="+sealedAttempt[strings.IndexByte(sealedAttempt, '=')+1:])
	f.Add("", "")
	f.Fuzz(func(t *testing.T, host, query string) {
		got, err := flow.openInvitation(host, query)
		if err != nil {
			if got != nil || err != errInvitation {
				t.Fatalf("openInvitation(%q, %q): got %+v, %v", host, query, got, err)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil || host != "gw.test" || len(values["i"]) != 1 || values.Get("i") != sealedInvitation || got.Return != "/handbook?x=1" {
			t.Fatalf("openInvitation(%q, %q): got %+v", host, query, got)
		}
	})
}
