package demo_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"portero/internal/demo"
	"portero/internal/gatewaytest"
)

// TestStepUpInChromium opens a page that wants a sign-in of the last minutes an hour after signing in: a page says why, the code is
// asked for anew although the provider knows the person, and the page comes that was asked for.
func TestStepUpInChromium(t *testing.T) {
	t.Parallel()
	const person = "ana.perez@example.com"
	clock := gatewaytest.NewClock()
	d := start(t, demo.Config{Now: clock.Now})
	r := gatewaytest.New(t, &gatewaytest.Options{
		Clock: clock,
		Logto: &gatewaytest.Logto{Endpoint: d.Logto.Endpoint, AppID: d.Logto.AppID, AppSecret: d.Logto.AppSecret},
		Routes: fmt.Sprintf(`
  - {name: pay, title: Payroll, path: /pay, step_up: {max_age: 5m}, upstreams: [{url: %[1]q}]}
  - {name: wiki, path: /, upstreams: [{url: %[1]q}]}
`, d.Addresses.Application),
	})
	chromium := gatewaytest.NewChromium(t)
	for _, tt := range []struct {
		say                      said
		look                     gatewaytest.Look
		heading, why, goOn, back string
	}{
		{inEnglish, gatewaytest.Look{}, "Confirm that it is you", "Payroll asks for a sign-in within the last 5 minutes.", "Continue", "Go back"},
		{inSpanish, gatewaytest.Look{Width: 390, Height: 844, Phone: true}, "Confirma que eres tú", "Payroll pide un inicio de sesión en los últimos 5 minutos.", "Continuar", "Volver"},
	} {
		v := visit(t, chromium, d, tt.say, tt.look)
		v.Open(r.URL + "/")
		v.signIn(v.Tab, person)
		v.AwaitHeading(v.say.received)
		v.Open(r.URL + "/pay/slip?y=2026")
		v.AwaitHeading(v.say.received) // the sign-in was just now

		clock.Add(time.Hour)
		v.Open(r.URL + "/pay/slip?y=2026")
		v.AwaitHeading(tt.heading)
		v.Shot("step-up-" + tt.say.lang)
		text := v.Text("main")
		for _, part := range []string{tt.why, person, tt.back} {
			if !strings.Contains(text, part) {
				t.Errorf("%s: the page says %q, want %q in it", tt.say.lang, text, part)
			}
		}
		for _, wrong := range gatewaytest.Eval[[]string](v.Tab, beside) {
			t.Errorf("%s: %s", tt.say.lang, wrong)
		}
		v.tabTo(tt.goOn) // as the keyboard reaches it
		v.Press("\r")
		v.AwaitHeading(v.say.askAddress) // the provider asks, though it knows the person
		if got := gatewaytest.Eval[string](v.Tab, "document.querySelector('#identifier').value"); got != person {
			t.Errorf("%s: the provider's page begins with the address %q, want %q", tt.say.lang, got, person)
		}
		v.ClickText(v.say.sendCode)
		v.AwaitHeading(v.say.askCode)
		v.Type("#code", v.code(person))
		v.ClickText(v.say.signIn)
		v.AwaitURL(r.URL + "/pay/slip?y=2026")
		v.AwaitHeading(v.say.received)
		if got, want := v.Text("main > p > code"), "GET /pay/slip?y=2026"; got != want {
			t.Errorf("the application saw %q, want %q", got, want)
		}
		v.quiet()
	}
}
