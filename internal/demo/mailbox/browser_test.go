package mailbox_test

import (
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"portero/internal/demo/mailbox"
	"portero/internal/gatewaytest"
)

// New mail appears by itself; what was open stays open, focus stays where it was, and a mail's HTML gets nowhere.
func TestNewMailArrives(t *testing.T) {
	t.Parallel()
	tab := gatewaytest.NewChromium(t).Person(t, gatewaytest.Look{})
	h := mailbox.New(mailbox.Config{APIKey: key}).Handler()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	send(t, h, "from", "x@mg.example.com", "to", "a@example.com", "subject", "111111 is your code", "text", "one")
	tab.Open(server.URL)
	tab.Click("#mail-1 summary")
	gatewaytest.Eval[any](tab, `document.querySelector("#mail-1 summary").focus()`)
	send(t, h, "from", "x@mg.example.com", "to", "b@example.com", "subject", "222222 is your code", "html", "<p>222222</p><script>parent.document.title='x'</script>")
	tab.WaitVisible("#mail-2 .code")
	if got := gatewaytest.Eval[string](tab, `document.activeElement.closest("li").id`); got != "mail-1" {
		t.Errorf("focus after new mail: got %s, want mail-1", got)
	}
	if !gatewaytest.Eval[bool](tab, `document.querySelector("#mail-1 details").open`) {
		t.Error("what was open has been closed by new mail")
	}
	if diff := cmp.Diff([]string{"222222", "111111"}, gatewaytest.Eval[[]string](tab, `[...document.querySelectorAll(".code")].map((e) => e.textContent)`)); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	if got := tab.Console(); len(got) > 0 {
		t.Errorf("the page breaks its own policy: %q", got)
	}
	tab.Click("#mail-2 summary")
	tab.WaitVisible("#mail-2 iframe")
	if got := gatewaytest.Eval[string](tab, "document.title"); got != "Mailbox · Portero" {
		t.Errorf("title: got %q, which a mail's script has set", got)
	}
	if !gatewaytest.Eval[bool](tab, `document.querySelector("iframe").contentDocument === null`) {
		t.Error("a mail's HTML shares the mailbox's origin")
	}
}
