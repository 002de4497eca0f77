package config_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"portero/internal/config"
)

func TestEveryMistakeIsNamedWithItsPlaceAndRemedy(t *testing.T) {
	t.Parallel()
	first := func(s string) string { return s + "\n" + strings.Join(base, "\n") } // s begins in line 1
	for name, tt := range map[string]struct {
		text   string
		prefix string
		parts  []string
	}{
		"route under an alias":     {with("endpoints: {aliases: oauth2-proxy}") + "\nroutes: [{path: /oauth2/x, upstreams: [{url: http://a:1}]}]", "portero.yaml", []string{"routes[0].path", "under /oauth2", "endpoints.aliases"}},
		"endpoint of an alias":     {with("endpoints: {aliases: oauth2-proxy, sign_in: /oauth2/start}"), "portero.yaml", []string{"endpoints.sign_in: is an endpoint of endpoints.aliases"}},
		"alias of another program": {with("endpoints: {aliases: vouch}"), "portero.yaml", []string{"endpoints.aliases", "oauth2-proxy"}},
		// YAML itself
		"unknown key":                   {first("liste: 127.0.0.1:1"), "portero.yaml:1: liste: is not a key", []string{"did you mean listen?"}},
		"unknown key, other separator":  {first("external-url: http://localhost"), "portero.yaml:1: external-url: is not a key", []string{"did you mean external_url?"}},
		"unknown key of another place":  {first("app_secret_files: x"), "portero.yaml:1: app_secret_files: is not a key", nil},
		"key of another section":        {first("store: file"), "portero.yaml:1: store: is not a key; write it as session.store", nil},
		"unknown key below":             {first("session:\n  lifetim: 3h"), "portero.yaml:2: session.lifetim: is not a key", []string{"did you mean lifetime?"}},
		"unknown key in a route":        {routes("  - {upstreams: [{url: http://127.0.0.1:1}], acces: public}"), "portero.yaml:4: routes[0].acces: is not a key", []string{"did you mean access?"}},
		"duplicate key":                 {first("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2"), "portero.yaml:2: listen: is there twice, in line 1 already", nil},
		"duplicate key in another case": {first("listen: 127.0.0.1:1\nLISTEN: 127.0.0.1:2"), "portero.yaml:2: LISTEN: is there twice, in line 1 already", nil},
		"key in another case":           {first("Listen: 127.0.0.1:1"), "portero.yaml:1: Listen: is not a key; did you mean listen?", nil},
		"tab":                           {first("log:\n\tlevel: info"), "portero.yaml:2: is indented with a tab; write spaces", nil},
		"tab that YAML would take":      {first("listen:\n\t127.0.0.1:3000"), "portero.yaml:2: is indented with a tab; write spaces", nil},
		"anchor":                        {first("log: &x {level: info}"), "portero.yaml:1: log: has an anchor (&)", []string{"remove it"}},
		"alias":                         {first("listen: &x 127.0.0.1:1\nadmin: {listen: *x}"), "portero.yaml:2: admin.listen: is an alias (*)", []string{"write the value out"}},
		"merge key":                     {first("log: {<<: {level: info}}"), "portero.yaml:1: log: has a merge key (<<)", nil},
		"tag":                           {first("log: {level: !!str info}"), "portero.yaml:1: log.level: has a tag (!)", nil},
		"second document":               {first("listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2"), "portero.yaml:", []string{"begins a second document; keep one"}},
		"broken YAML":                   {first("log: [a"), "portero.yaml:", []string{"is not YAML"}},
		"list at the top":               {"- a\n", "portero.yaml:1: is not a list of keys", nil},
		"not UTF-8":                     {"listen: 127.0.0.1:1\nname: \xff\n", "portero.yaml:2: has bytes that are not UTF-8", nil},
		// types
		"text for a section":        {first("log: info"), "portero.yaml:1: log: is a text; write keys below it", nil},
		"list for a section":        {first("log: [info]"), "portero.yaml:1: log: is a list; write keys below it", nil},
		"section for a text":        {first("listen: {a: b}"), "portero.yaml:1: listen: is a section with keys; write one text", nil},
		"number for a text":         {first("listen: 3000"), "portero.yaml:1: listen: is a number; write it in quotes", nil},
		"text for a list":           {first("trusted_proxies: 10.0.0.0/8"), "portero.yaml:1: trusted_proxies: is a text; write a list", nil},
		"text for routes":           {with("-upstream", "routes: all"), "portero.yaml:3: routes: is a text; write a list, each element with a dash", nil},
		"no value":                  {first("listen:"), "portero.yaml:1: listen: has no value", nil},
		"yes is not true":           {first("reload: {watch: yes please}"), "portero.yaml:1: reload.watch: is not true or false", nil},
		"yes alone is not true":     {first("reload: {watch: yes}"), "portero.yaml:1: reload.watch: is not true or false", nil},
		"quoted true is not true":   {first(`reload: {watch: "true"}`), "portero.yaml:1: reload.watch: is not true or false", []string{"without quotes"}},
		"duration without unit":     {first("shutdown: {timeout: 30}"), `portero.yaml:1: shutdown.timeout: "30" has no unit; write 30s`, nil},
		"quoted without unit":       {first(`shutdown: {timeout: "30"}`), `portero.yaml:1: shutdown.timeout: "30" has no unit; write 30s`, nil},
		"zero without unit":         {first(`shutdown: {delay: 0}`), `portero.yaml:1: shutdown.delay: "0" has no unit`, nil},
		"duration in days":          {first("session: {lifetime: 7d}"), `portero.yaml:1: session.lifetime: "7d" is in days; write 168h`, nil},
		"negative duration":         {first("shutdown: {delay: -5s}"), `portero.yaml:1: shutdown.delay: "-5s" is negative`, nil},
		"unknown word":              {first("log: {level: warning}"), `portero.yaml:1: log.level: "warning" is unknown; write one of debug, info, warn, error`, nil},
		"unknown word, near":        {first("log: {level: debgu}"), `portero.yaml:1: log.level: "debgu" is unknown; did you mean debug?`, nil},
		"control character":         {first(`pages: {name: "a\u0007b"}`), "portero.yaml:1: pages.name: has control characters", nil},
		"element twice":             {first("insecure: [plain-http, plain-http]"), `portero.yaml:1: insecure[1]: "plain-http" is there twice`, nil},
		"placeholder in a text":     {first("pages: {name: <your name>}"), "portero.yaml:1: pages.name: is an example text", nil},
		"number for a secret":       {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: 123456789}"), "portero.yaml:3: logto.app_secret: is a number; write it in quotes", nil},
		"section for a secret":      {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: {value: " + canary + "}}"), "portero.yaml:3: logto.app_secret: is a section", nil},
		"secret twice":              {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", app_secret_file: x}"), "portero.yaml:3: logto.app_secret_file: is there together with logto.app_secret", nil},
		"secret file missing":       {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret_file: nowhere}"), "portero.yaml:3: logto.app_secret_file: ", []string{"there is no such file"}},
		"placeholder secret":        {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: changeme}"), "portero.yaml:3: logto.app_secret: is an example text", nil},
		"redacted secret":           {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: (redacted)}"), "portero.yaml:3: logto.app_secret: is an example text", nil},
		"bad base64 secret":         {first("session: {secret: \"base64:" + canary + "!\"}"), "portero.yaml:1: session.secret: is not base64", nil},
		"bad hexadecimal secret":    {first("session: {secret: \"hex:" + canary + "\"}"), "portero.yaml:1: session.secret: is not hexadecimal", nil},
		"short session secret":      {first("session: {secret: too-short}"), "portero.yaml:1: session.secret: has 9 bytes and needs 32; run portero secret", nil},
		"short old secret":          {first("session: {old_secrets: [{value: \"hex:00ff\"}]}"), "portero.yaml:1: session.old_secrets[0].value: has 2 bytes and needs 32; run portero secret", nil},
		"empty old secret":          {first("session: {old_secrets: [{}]}"), "portero.yaml:1: session.old_secrets[0]: has neither value nor file", nil},
		"password in a URL":         {with("upstream: http://ann:" + canary + "@127.0.0.1:1"), "portero.yaml:3: upstream: has a user name or a password", nil},
		"password in another place": {with("upstream: \"ftp://ann:" + canary + "@127.0.0.1:1\""), "portero.yaml:3: upstream: the value is not http", nil},
		// addresses
		"listen without port":            {first("listen: 127.0.0.1"), `portero.yaml:1: listen: "127.0.0.1" is no address with a port`, nil},
		"listen with a bad port":         {first("listen: 127.0.0.1:99999"), `portero.yaml:1: listen: "127.0.0.1:99999" has a port that is none`, nil},
		"listen empty":                   {first(`listen: ""`), "portero.yaml:1: listen: ", nil},
		"external URL with a path":       {first("external_url: https://a.example.com/app"), `portero.yaml:1: external_url: has a path, "/app"; write`, []string{"https://a.example.com"}},
		"external URL without scheme":    {first("external_url: localhost:3000"), `portero.yaml:1: external_url: "localhost:3000" has no scheme; write http://localhost:3000`, nil},
		"external URL in the clear":      {first("external_url: http://a.example.com"), "portero.yaml:1: external_url: is http on a host other than localhost", []string{"https://a.example.com", "plain-http"}},
		"external URL empty":             {first(`external_url: ""`), "portero.yaml:1: external_url: is empty", nil},
		"upstream without scheme":        {with("upstream: localhost:8080"), `portero.yaml:3: upstream: "localhost:8080" has no scheme; write http://localhost:8080`, nil},
		"upstream with a path":           {with("upstream: http://localhost:8080/app"), "portero.yaml:3: upstream: has a path", nil},
		"upstream with a query":          {with("upstream: http://localhost:8080/?a"), "portero.yaml:3: upstream: ", []string{"has a query"}},
		"upstream with a bad port":       {with("upstream: http://localhost:0"), "portero.yaml:3: upstream: ", []string{"port"}},
		"proxies: no network":            {first("trusted_proxies: [10.0.0.0/99]"), `portero.yaml:1: trusted_proxies[0]: "10.0.0.0/99" is no network`, nil},
		"proxies: bits beyond":           {first("trusted_proxies: [10.0.0.1/8]"), `portero.yaml:1: trusted_proxies[0]: "10.0.0.1/8" has bits beyond its length; write 10.0.0.0/8`, nil},
		"proxies: everybody":             {first("trusted_proxies: [0.0.0.0/0]"), "portero.yaml:1: trusted_proxies[0]: 0.0.0.0/0 is everybody", []string{"trust-everybody"}},
		"proxies: everybody, version 6":  {first(`trusted_proxies: ["::/0"]`), "portero.yaml:1: trusted_proxies[0]: ::/0 is everybody", nil},
		"proxies: everybody, mapped":     {first(`trusted_proxies: ["::ffff:0.0.0.0/96"]`), "portero.yaml:1: trusted_proxies[0]: 0.0.0.0/0 is everybody", nil},
		"admin for everybody":            {first("admin: {listen: 0.0.0.0:3010}"), "portero.yaml:1: admin.listen: ", []string{"there is no token", "admin.token"}},
		"admin where people are":         {first("admin: {listen: 127.0.0.1:3000}"), "portero.yaml:1: admin.listen: ", []string{"is the address of `listen`"}},
		"admin token no header can have": {first(`admin: {token: "hex:00ff00ff"}`), "portero.yaml:1: admin.token: has characters that a request header cannot carry", nil},
		"certificate without key":        {first("tls: {cert_file: a.pem}"), "portero.yaml:1: tls.key_file: is missing", nil},
		"certificate that is not there":  {first("tls: {cert_file: a.pem, key_file: b.pem}"), "portero.yaml:1: tls.cert_file: ", []string{"there is no such file"}},
		// Logto and mail
		"no Logto":                     {with("-logto"), "portero.yaml:1: logto.endpoint: is missing", []string{"PORTERO_LOGTO_ENDPOINT"}},
		"no application":               {with("-logto"), "portero.yaml:1: logto.app_id: is missing", nil},
		"no application secret":        {with("logto: {endpoint: https://t.logto.app/, app_id: abc}"), "portero.yaml:3: logto.app_secret: is missing", []string{"app_secret_file"}},
		"Logto in the clear":           {with("logto: {endpoint: http://t.logto.app/, app_id: abc, app_secret: " + canary + "}"), "portero.yaml:3: logto.endpoint: is http", []string{"plain-http"}},
		"Logto's issuer":               {with("logto: {endpoint: https://t.logto.app/oidc, app_id: abc, app_secret: " + canary + "}"), "portero.yaml:3: logto.endpoint: ends in /oidc", []string{"https://t.logto.app/"}},
		"Logto CA not there":           {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", ca_file: nowhere}"), "portero.yaml:3: logto.ca_file: ", []string{"no such file"}},
		"scopes in one text":           {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", scopes: [email phone]}"), "portero.yaml:3: logto.scopes[0]: ", nil},
		"our own parameter":            {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", sign_in: {extra_params: [{name: state, value: a}]}}"), `portero.yaml:3: logto.sign_in.extra_params[0].name: "state" is set by Portero itself`, nil},
		"half of the management":       {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", management: {app_id: m}}"), "portero.yaml:3: logto.management.app_secret: is missing", nil},
		"other half of the management": {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", management: {app_secret: " + canary + "}}"), "portero.yaml:3: logto.management.app_id: is missing", nil},
		"management with example text": {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", management: {app_id: m, app_secret: changeme}}"), "portero.yaml:3: logto.management.app_secret: ", []string{"example text"}},
		"management with two secrets":  {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", management: {app_id: m, app_secret: " + canary + ", app_secret_file: f}}"), "portero.yaml:3: logto.management.app_secret_file: ", nil},
		"management of no resource":    {with("logto: {endpoint: https://t.logto.app/, app_id: abc, app_secret: " + canary + ", management: {app_id: m, app_secret: " + canary + ", resource: api}}"), `portero.yaml:3: logto.management.resource: "api" is no absolute URI`, nil},
		"half of Mailgun":              {first("mailgun: {domain: mg.example.com}"), "portero.yaml:1: mailgun.api_key: is missing", nil},
		"not Mailgun":                  {first("mailgun: {endpoint: https://api.mailgun.net.evil.example}"), "portero.yaml:1: mailgun.endpoint: ", []string{"is no host of Mailgun"}},
		"Mailgun in the clear":         {first("mailgun: {endpoint: http://api.mailgun.net}"), "portero.yaml:1: mailgun.endpoint: is http", nil},
		"sender":                       {first("mailgun: {domain: mg.example.com, api_key: key-123, from: nobody}"), "portero.yaml:1: mailgun.from: ", []string{"is no sender"}},
		"mail with both":               {first(`mailgun: {deliveries: [{usage: SignIn, subject: a, html: "{{code}}", template: b}]}`), "portero.yaml:1: mailgun.deliveries[0].template: excludes html and text", nil},
		"mail with neither":            {first(`mailgun: {deliveries: [{usage: SignIn, subject: a}]}`), "portero.yaml:1: mailgun.deliveries[0]: has neither html nor template", nil},
		"mail without the code":        {first(`mailgun: {deliveries: [{usage: SignIn, subject: a, html: b}]}`), "portero.yaml:1: mailgun.deliveries[0].html: has no code in it; write {{code}}", nil},
		"mail of an unknown usage":     {first(`mailgun: {deliveries: [{usage: Signin, subject: a, template: b}]}`), `portero.yaml:1: mailgun.deliveries[0].usage: "Signin" is unknown; did you mean SignIn?`, nil},
		"two mails of one usage":       {first("mailgun:\n  deliveries:\n    - {usage: SignIn, subject: a, template: b}\n    - {usage: SignIn, subject: a, template: b}"), "portero.yaml:4: mailgun.deliveries[1].usage: SignIn is there twice", nil},
		"variable that is the code":    {first(`mailgun: {deliveries: [{usage: SignIn, subject: a, template: b, variables: [{name: code, value: x}]}]}`), "portero.yaml:1: mailgun.deliveries[0].variables[0].name: code is the one-time code", nil},
		"session that is too long":     {first("session: {lifetime: 720h}"), "portero.yaml:1: session.lifetime: is over 336h", nil},
		"session of nothing":           {first("session: {lifetime: 0s}"), "portero.yaml:1: session.lifetime: is under a minute", nil},
		"idle for longer":              {first("session: {lifetime: 1h, idle_timeout: 2h}"), "portero.yaml:1: session.idle_timeout: is longer than session.lifetime, 1h", nil},
		"endpoint that is relative":    {first("endpoints: {callback: callback}"), `portero.yaml:1: endpoints.callback: "callback" does not begin with a slash; write /callback`, nil},
		"endpoints that are equal":     {first("endpoints: {sign_in: /a, callback: /a}"), "portero.yaml:1: endpoints.callback: is the path of endpoints.sign_in", nil},
		"endpoint under the prefix":    {first("endpoints: {sign_in: /_portero/in}"), "portero.yaml:1: endpoints.sign_in: is under endpoints.prefix", nil},
		"endpoint with an escape":      {first("endpoints: {sign_in: /a%20b}"), "portero.yaml:1: endpoints.sign_in: ", []string{"has characters other than"}},
		"endpoint with dots":           {first("endpoints: {sign_in: /a/../b}"), "portero.yaml:1: endpoints.sign_in: ", []string{"dots"}},
		"prefix of everything":         {first("endpoints: {prefix: /}"), "portero.yaml:1: endpoints.prefix: is the whole site", nil},
		"header with a meaning":        {first("identity: {headers: [{name: Host, claim: sub}]}"), "portero.yaml:1: identity.headers[0].name: Host has a meaning of its own", nil},
		"header with a meaning, _":     {first("identity: {headers: [{name: x_forwarded_for, claim: sub}]}"), "portero.yaml:1: identity.headers[0].name: x_forwarded_for has a meaning", nil},
		"header that is none":          {first(`identity: {headers: [{name: "X A", claim: sub}]}`), `portero.yaml:1: identity.headers[0].name: "X A" is no name of a header`, nil},
		"headers that read alike":      {first("identity: {headers: [{name: X-User-Id, claim: sub}, {name: x_user.id, claim: email}]}"), "portero.yaml:1: identity.headers[1].name: x_user.id reads like the name of identity.headers[0]", nil},
		"header without claim":         {first("identity: {headers: [{name: X-User}]}"), "portero.yaml:1: identity.headers[0].claim: is missing", nil},
		"header with a letter between": {first("identity: {headers: [{name: X-User, claim: roles, join: x}]}"), `portero.yaml:1: identity.headers[0].join: "x" cannot be told`, nil},
		"header of no bytes":           {first("identity: {headers: [{name: X-User, claim: sub, max_bytes: 0}]}"), "portero.yaml:1: identity.headers[0].max_bytes: 0 is not from 1 to 16384", nil},
		"header that is too long":      {first("identity: {headers: [{name: X-User, claim: sub, max_bytes: 16385}]}"), "portero.yaml:1: identity.headers[0].max_bytes: 16385 is not from 1 to 16384", nil},
		"header of text bytes":         {first(`identity: {headers: [{name: X-User, claim: sub, max_bytes: "4096"}]}`), "portero.yaml:1: identity.headers[0].max_bytes: is ", []string{"write a whole number, without quotes"}},
		"header of half a byte":        {first("identity: {headers: [{name: X-User, claim: sub, max_bytes: 0.5}]}"), "portero.yaml:1: identity.headers[0].max_bytes: is ", nil},
		"header of hexadecimal bytes":  {first("identity: {headers: [{name: X-User, claim: sub, max_bytes: 0x10}]}"), `portero.yaml:1: identity.headers[0].max_bytes: "0x10" is no whole number`, nil},
		"header of too many bytes":     {first("identity: {headers: [{name: X-User, claim: sub, max_bytes: 99999999999999999999}]}"), "portero.yaml:1: identity.headers[0].max_bytes: ", nil},
		"overflow of a third kind":     {first("identity: {headers: [{name: X-User, claim: sub, overflow: cut}]}"), `portero.yaml:1: identity.headers[0].overflow: "cut" is unknown; write one of drop, deny`, nil},
		"preset nobody knows":          {first("identity: {preset: Grafana}"), `portero.yaml:1: identity.preset: "Grafana" is unknown; did you mean grafana?`, nil},
		"preset and headers":           {first("identity: {preset: grafana, headers: [{name: X-User, claim: sub}]}"), "portero.yaml:1: identity.preset: replaces `headers`, and both are written; keep one of them", nil},
		"preset and no headers":        {first("identity: {preset: grafana, headers: []}"), "portero.yaml:1: identity.preset: replaces `headers`, and both are written", nil},
		"preset and headers, route":    {routes("  - {upstreams: [{url: http://127.0.0.1:1}], identity: {preset: none, headers: [{name: X-User, claim: sub}]}}"), "portero.yaml:4: routes[0].identity.preset: replaces `headers`", nil},
		"assertion that lives long":    {first("identity: {assertion: {lifetime: 61s}}"), "portero.yaml:1: identity.assertion.lifetime: 1m1s is not from 5s to 60s", nil},
		"assertion that hardly lives":  {first("identity: {assertion: {lifetime: 4s}}"), "portero.yaml:1: identity.assertion.lifetime: 4s is not from 5s to 60s", nil},
		"assertion in Authorization":   {first("identity: {assertion: {header: Authorization}}"), "portero.yaml:1: identity.assertion.header: Authorization has a meaning of its own", nil},
		"assertion misspelt":           {first("identity: {assertion: {header: X_Portero_Assertion}}"), "portero.yaml:1: identity.assertion.header: X_Portero_Assertion has a meaning of its own", nil},
		"assertion in no header":       {first(`identity: {assertion: {header: ""}}`), "portero.yaml:1: identity.assertion.header: is empty", nil},
		"assertion in a bad header":    {first(`identity: {assertion: {header: "a b"}}`), `portero.yaml:1: identity.assertion.header: "a b" is no name of a header`, nil},
		"assertion in a claim's":       {first("identity: {assertion: {header: x_forwarded_user}}"), "portero.yaml:1: identity.assertion.header: x_forwarded_user is the name of one of the other headers", nil},
		"assertion in a preset's":      {first("identity: {preset: grafana, assertion: {header: X-Webauth-Name}}"), "portero.yaml:1: identity.assertion.header: X-Webauth-Name is the name of one of the other headers", nil},
		"assertion in a claim's, route": {routes("  - {upstreams: [{url: http://127.0.0.1:1}], identity: {headers: [{name: X-Jwt, claim: sub}]}}", "identity: {assertion: {header: X-Jwt}}"),
			"portero.yaml:4: routes[0].identity.assertion.header: X-Jwt is the name of one of the other headers", nil},
		"assertion bound to the body": {first("identity: {assertion: {bind: [body]}}"), `portero.yaml:1: identity.assertion.bind[0]: "body" is unknown; write one of method, path`, nil},
		"audience for all":            {first("identity: {assertion: {audience: wiki}}"), "portero.yaml:1: identity.assertion.audience: is not a key", nil},
		// not yet there
		"telemetry": {first("telemetry: {otlp_endpoint: http://localhost:4318}"), "portero.yaml:1: telemetry.otlp_endpoint: is not available in this version; remove it", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.text)
			wantProblem(t, err, tt.prefix, tt.parts...)
		})
	}
}

func TestMistakesInRoutesAndRules(t *testing.T) {
	t.Parallel()
	const up = "upstreams: [{url: http://127.0.0.1:1}]"
	for name, tt := range map[string]struct {
		text   string
		prefix string
		parts  []string
	}{
		"neither upstream nor routes":  {with("-upstream"), "portero.yaml:1: routes: is missing", []string{"upstream"}},
		"upstream and routes":          {with("routes: [{" + up + "}]"), "portero.yaml:1: upstream: excludes `routes`", nil},
		"allow and email_domains":      {with("allow: [{roles: [a]}]"), "portero.yaml:2: email_domains: excludes `allow`", nil},
		"nobody may come in":           {with("-email_domains"), "portero.yaml:1: allow: is missing, so nobody could come in", nil},
		"nobody may come in, route":    {routes("  - {"+up+"}", "-email_domains"), "portero.yaml:3: routes[0].allow: is missing, so nobody could come in", nil},
		"explicitly nobody":            {routes("  - {" + up + ", allow: []}"), "portero.yaml:4: routes[0].allow: is empty, which lets nobody in", nil},
		"rule that says nothing":       {with("-email_domains", "allow: [{}]"), "portero.yaml:3: allow[0]: says nothing", nil},
		"rule with empty lists":        {with("-email_domains", "allow: [{roles: [], emails: []}]"), "portero.yaml:3: allow[0]: says nothing", nil},
		"rule that is no address":      {with("-email_domains", "allow: [{emails: [example.com]}]"), `portero.yaml:3: allow[0].emails[0]: "example.com" is no address`, nil},
		"two @":                        {with("-email_domains", "allow: [{emails: [a@b@example.com]}]"), "portero.yaml:3: allow[0].emails[0]: ", []string{"is no address"}},
		"domain with @":                {with(`email_domains: ["@example.com"]`), `portero.yaml:3: email_domains[0]: "@example.com" has an @; write "example.com"`, nil},
		"domain of subdomains":         {with(`email_domains: ["*.example.com"]`), "portero.yaml:3: email_domains[0]: ", []string{"names subdomains"}},
		"claim without values":         {with("-email_domains", "allow: [{claims: [{name: a}]}]"), "portero.yaml:3: allow[0].claims[0].values: is missing", nil},
		"claim without name":           {with("-email_domains", "allow: [{claims: [{values: [a]}]}]"), "portero.yaml:3: allow[0].claims[0].name: is missing", nil},
		"network that is none":         {with("-email_domains", "allow: [{networks: [inside]}]"), `portero.yaml:3: allow[0].networks[0]: "inside" is no network`, nil},
		"role in no organization":      {with("-email_domains", "allow: [{organization_roles: [admin]}]"), `portero.yaml:3: allow[0].organization_roles[0]: "admin" is no role in an organization; write ORGANIZATION:ROLE`, nil},
		"rule of methods alone":        {with("-email_domains", "allow: [{methods: [GET]}]"), "portero.yaml:3: allow[0].methods: says how, and nothing says who; write who is meant", nil},
		"rule's method in lower case":  {with("-email_domains", "allow: [{roles: [a], methods: [get]}]"), `portero.yaml:3: allow[0].methods[0]: "get" is not in upper case; write GET`, nil},
		"rule for HEAD alone":          {with("-email_domains", "allow: [{roles: [a], methods: [HEAD]}]"), "portero.yaml:3: allow[0].methods: has HEAD without GET", nil},
		"expression that is none":      {with("-email_domains", "allow:\n  - expression: 'claims.sub =='"), "portero.yaml:4: allow[0].expression: column 14: is no expression", []string{"; write "}},
		"expression of the request":    {routes("  - {" + up + ", allow: [{roles: [a]}, {expression: request.methd == \"GET\"}]}"), `portero.yaml:4: routes[0].allow[1].expression: column 8: a request has no "methd"; write one of client_in()`, nil},
		"expression of no use":         {with("-email_domains", "allow: [{expression: request.method}]"), "portero.yaml:3: allow[0].expression: is a string, not true or false; write a comparison", nil},
		"expression that costs":        {with("-email_domains", "allow: [{expression: 'claims.a.exists(x, claims.b.exists(y, x == y))'}]"), "portero.yaml:3: allow[0].expression: may cost too much for a request; write it", nil},
		"report only for everybody":    {routes("  - {" + up + ", path: /a, access: optional, report_only: true}"), "portero.yaml:4: routes[0].report_only: is only for access: signed-in", nil},
		"asked about, and forwarded":   {"trusted_proxies: [10.0.0.2]\n" + routes("  - {"+up+", forward_auth_only: true}"), "portero.yaml:5: routes[0].forward_auth_only: excludes `upstreams`", nil},
		"asked about by nobody":        {routes("  - {path: /a, forward_auth_only: true}"), "portero.yaml:4: routes[0].forward_auth_only: lets nobody ask", []string{"trusted_proxies: ["}},
		"neither asked nor forwarded":  {routes("  - {path: /a, forward_auth_only: false}"), "portero.yaml:4: routes[0].upstreams: is missing", []string{"forward_auth_only: true"}},
		"step up for everybody":        {routes("  - {" + up + ", path: /a, access: public, step_up: {max_age: 5m}}"), "portero.yaml:4: routes[0].step_up.max_age: is only for access: signed-in", nil},
		"step up at once":              {routes("  - {" + up + ", step_up: {max_age: 59s}}"), `portero.yaml:4: routes[0].step_up.max_age: "59s" is too short to sign in; write 1m or more`, nil},
		"bearer for everybody":         {routes("  - {" + up + ", path: /a, access: optional, bearer: {audience: https://a.example}}"), "portero.yaml:4: routes[0].bearer.audience: is only for access: signed-in", nil},
		"bearer that is no API":        {routes("  - {" + up + ", bearer: {audience: api}}"), `portero.yaml:4: routes[0].bearer.audience: "api" is no absolute URI`, nil},
		"bearer with a blank":          {routes("  - {" + up + ", bearer: {audience: \"https://a.example https://b.example\"}}"), "portero.yaml:4: routes[0].bearer.audience: ", []string{"is no absolute URI"}},
		"bearer with a fragment":       {routes("  - {" + up + ", bearer: {audience: \"https://a.example/#\"}}"), "portero.yaml:4: routes[0].bearer.audience: ", []string{"is no absolute URI"}},
		"bearer of our own tokens":     {routes("  - {" + up + ", bearer: {audience: abc}}"), "portero.yaml:4: routes[0].bearer.audience: is logto.app_id", nil},
		"bearer and step up":           {routes("  - {" + up + ", step_up: {max_age: 5m}, bearer: {audience: https://a.example}}"), "portero.yaml:4: routes[0].bearer.audience: excludes step_up", nil},
		"access token for everybody":   {routes("  - {" + up + ", path: /a, access: optional, access_token: {resource: https://a.example}}"), "portero.yaml:4: routes[0].access_token: is only for access: signed-in", nil},
		"access token of no API":       {routes("  - {" + up + ", access_token: {resource: api}}"), `portero.yaml:4: routes[0].access_token.resource: "api" is no absolute URI`, nil},
		"access token and bearer":      {routes("  - {" + up + ", access_token: {organization: o}, bearer: {audience: https://a.example}}"), "portero.yaml:4: routes[0].access_token: excludes bearer", nil},
		"organization by name":         {routes("  - {" + up + ", access_token: {organization: My club}}"), `portero.yaml:4: routes[0].access_token.organization: "My club" is no identifier`, nil},
		"nine kinds of access token":   {routes(nineTokens(up)), "portero.yaml:12: routes[8].access_token: is the ninth kind", nil},
		"step up before":               {routes("  - {" + up + ", step_up: {max_age: -5m}}"), `portero.yaml:4: routes[0].step_up.max_age: "-5m" is negative`, nil},
		"cors of a public route":       {routes("  - {" + up + ", path: /a, access: public, cors: {origins: [\"https://a.example.com\"]}}"), "portero.yaml:4: routes[0].cors: is for access: signed-in and optional", nil},
		"cors for every cookie":        {routes("  - {" + up + ", cors: {origins: [\"*\"], credentials: true}}"), `portero.yaml:4: routes[0].cors.origins[0]: "*" is every page`, nil},
		"cors for nobody":              {routes("  - {" + up + ", cors: {credentials: true}}"), "portero.yaml:4: routes[0].cors.origins: is missing", nil},
		"cors: null":                   {routes("  - {" + up + ", cors: {origins: [\"null\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: null is the origin of any page", nil},
		"cors: subdomains":             {routes("  - {" + up + ", cors: {origins: [\"https://*.example.com\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", []string{"wildcards are not available"}},
		"cors: no scheme":              {routes("  - {" + up + ", cors: {origins: [app.example.com]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", []string{"has no scheme"}},
		"cors: upper case":             {routes("  - {" + up + ", cors: {origins: [\"https://App.example.com\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", []string{"write https://app.example.com"}},
		"cors: slash":                  {routes("  - {" + up + ", cors: {origins: [\"https://app.example.com/\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", []string{"write https://app.example.com"}},
		"cors: default port":           {routes("  - {" + up + ", cors: {origins: [\"https://app.example.com:443\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", []string{"write https://app.example.com"}},
		"cors: expression":             {routes("  - {" + up + ", cors: {origins: [\"^https://.*$\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: ", nil},
		"cors: empty origin":           {routes("  - {" + up + ", cors: {origins: [\"\"]}}"), "portero.yaml:4: routes[0].cors.origins[0]: is empty", nil},
		"cors: twice":                  {routes("  - {" + up + ", cors: {origins: [\"https://a.example.com\", \"https://a.example.com\"]}}"), "portero.yaml:4: routes[0].cors.origins[1]: ", []string{"is there twice"}},
		"cors: method":                 {routes("  - {" + up + ", cors: {origins: [\"https://a.example.com\"], methods: [get]}}"), "portero.yaml:4: routes[0].cors.methods[0]: ", []string{"write GET"}},
		"cors: header":                 {routes("  - {" + up + ", cors: {origins: [\"https://a.example.com\"], headers: [\"a, b\"]}}"), "portero.yaml:4: routes[0].cors.headers[0]: ", []string{"is no name of a header"}},
		"cors: kept too long":          {routes("  - {" + up + ", cors: {origins: [\"https://a.example.com\"], max_age: 25h}}"), "portero.yaml:4: routes[0].cors.max_age: ", []string{"write 24h or less"}},
		"allow where it does not bite": {routes("  - {" + up + ", path: /a, access: public, allow: [{roles: [a]}]}"), "portero.yaml:4: routes[0].allow: is only for access: signed-in", nil},
		"public root":                  {routes("  - {" + up + ", access: public}"), "portero.yaml:4: routes[0].access: public on a prefix route /", []string{"public-root"}},
		"no upstreams":                 {routes("  - {path: /a}"), "portero.yaml:4: routes[0].upstreams: is missing", []string{"access: deny"}},
		"upstream without URL":         {routes("  - {upstreams: [{}]}"), "portero.yaml:4: routes[0].upstreams[0].url: is missing", nil},
		"upstream of another scheme":   {routes("  - {upstreams: [{url: ws://127.0.0.1:1}]}"), "portero.yaml:4: routes[0].upstreams[0].url: ", []string{"is not http or https"}},
		"path without slash":           {routes("  - {" + up + ", path: admin}"), `portero.yaml:4: routes[0].path: "admin" does not begin with a slash; write /admin`, nil},
		"path with an escape":          {routes("  - {" + up + ", path: /a%2fb}"), "portero.yaml:4: routes[0].path: ", []string{"has a %"}},
		"path with a star":             {routes("  - {" + up + ", path: /a/*}"), "portero.yaml:4: routes[0].path: ", []string{"has a *"}},
		"path with dots":               {routes("  - {" + up + ", path: /a/../b}"), "portero.yaml:4: routes[0].path: ", []string{"dots"}},
		"path under our prefix":        {routes("  - {" + up + ", path: /_portero/x}"), "portero.yaml:4: routes[0].path: ", []string{"under endpoints.prefix"}},
		"method in lower case":         {routes("  - {" + up + ", methods: [get]}"), `portero.yaml:4: routes[0].methods[0]: "get" is not in upper case; write GET`, nil},
		"method that is not forwarded": {routes("  - {" + up + ", methods: [TRACE]}"), "portero.yaml:4: routes[0].methods[0]: TRACE is never forwarded", nil},
		"HEAD alone":                   {routes("  - {" + up + ", methods: [HEAD]}"), "portero.yaml:4: routes[0].methods: has HEAD without GET", nil},
		"host with a scheme":           {routes("  - {" + up + ", hosts: [\"https://wiki.example.com\"]}"), "portero.yaml:4: routes[0].hosts[0]: ", []string{"is a URL"}},
		"host with another port":       {routes("  - {" + up + ", hosts: [\"localhost:8443\"]}"), "portero.yaml:4: routes[0].hosts[0]: ", []string{"has a port"}},
		"host with a star":             {routes("  - {" + up + ", hosts: [\"*.example.com\"]}"), "portero.yaml:4: routes[0].hosts[0]: ", []string{"wildcards are not available"}},
		"host that is not ASCII":       {routes("  - {" + up + ", hosts: [wikí.example.com]}"), "portero.yaml:4: routes[0].hosts[0]: ", []string{"write xn--wik-tma.example.com"}},
		"host twice":                   {routes("  - {" + up + ", hosts: [a.example.com, A.example.com]}"), `portero.yaml:4: routes[0].hosts[1]: "a.example.com" is there twice`, nil},
		"equal routes":                 {routes("  - {" + up + "}\n  - {" + up + "}"), "portero.yaml:5: routes[1]: has the host, path and match of routes[0]", []string{"localhost/"}},
		"equal but for the slash":      {routes("  - {" + up + ", path: /a}\n  - {" + up + ", path: /a/}"), "portero.yaml:5: routes[1]: has the host, path and match of routes[0]", nil},
		"overlapping methods":          {routes("  - {" + up + ", methods: [GET, POST]}\n  - {" + up + ", methods: [POST]}"), "portero.yaml:5: routes[1]: ", []string{"and its method POST"}},
		"one name for two":             {routes("  - {" + up + ", name: a}\n  - {" + up + ", path: /b, name: a}"), `portero.yaml:5: routes[1].name: "a" is the name of routes[0] too`, nil},
		"name for people":              {routes("  - {" + up + ", name: My wiki}"), "portero.yaml:4: routes[0].name: ", []string{"title"}},
		"support address":              {routes("  - {" + up + ", support: {email: help}}"), `portero.yaml:4: routes[0].support.email: "help" is no address`, nil},
		"null for a route":             {routes("  -"), "portero.yaml:4: routes[0]: is empty", nil},
		"empty host":                   {routes("  - {" + up + ", hosts: [\"\"]}"), "portero.yaml:4: routes[0].hosts[0]: is empty", nil},

		"accent":              {with(`pages: {accent: blue}`), `portero.yaml:4: pages.accent: "blue" is no colour`, nil},
		"language":            {with(`pages: {languages: [en, de]}`), `portero.yaml:4: pages.languages[1]: "de" is unknown; write one of en, es`, nil},
		"no language":         {with(`pages: {languages: []}`), "portero.yaml:4: pages.languages: is empty", nil},
		"logo":                {with(`pages: {logo_file: nowhere.svg}`), "portero.yaml:4: pages.logo_file: ", []string{"there is no such file"}},
		"home elsewhere":      {with(`pages: {home_url: "https://evil.example.com/"}`), "portero.yaml:4: pages.home_url: ", []string{"is not on a host of ours"}},
		"home by two slashes": {with(`pages: {home_url: "//evil.example.com/"}`), "portero.yaml:4: pages.home_url: ", nil},
		"text of no page":     {with(`pages: {texts: [{page: denid, part: lead, lang: en, text: a}]}`), "portero.yaml:4: pages.texts[0].page: ", []string{"did you mean denied?"}},
		"text of strangers":   {with(`pages: {texts: [{page: unknown-host, part: lead, lang: en, text: a}]}`), "portero.yaml:4: pages.texts[0].page: ", nil},
		"text with HTML":      {with(`pages: {texts: [{page: denied, part: lead, lang: en, text: "<b>a</b>"}]}`), "portero.yaml:4: pages.texts[0].text: has HTML in it", nil},
		"text of nothing":     {with(`pages: {texts: [{page: denied, part: lead, lang: en, text: "{name}"}]}`), `portero.yaml:4: pages.texts[0].text: "{name}" stands for nothing`, nil},
		"text without lang":   {with(`pages: {texts: [{page: denied, part: lead, text: a}]}`), "portero.yaml:4: pages.texts[0].lang: is missing", nil},
		"text too long":       {with(`pages: {texts: [{page: denied, part: lead, lang: en, text: "` + strings.Repeat("é", 401) + `"}]}`), "portero.yaml:4: pages.texts[0].text: has 401 characters", nil},
		"text twice":          {with("pages:\n  texts:\n    - {page: denied, part: lead, lang: en, text: a}\n    - {page: denied, part: lead, lang: en, text: b}"), "portero.yaml:7: pages.texts[1]: replaces the lead of denied in en a second time", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.text)
			wantProblem(t, err, tt.prefix, tt.parts...)
		})
	}
}

func TestAllProblemsAtOnceInTheOrderOfTheFile(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		"listen: 3000",
		"external_url: http://portal.example.com",
		"session:",
		"  lifetime: 30",
		"logto:",
		"  endpoint: https://t.logto.app/",
		"  app_id: abc",
		"  app_secret: changeme",
		"routes:",
		"  - path: admin",
		"    upstreams: [{url: \"localhost:8080\"}]",
		"    acess: public",
	}, "\n")
	_, err := load(t, text, "PORTERO_LOG_LEVEL=loud", "PORTERO_LITSEN=x")
	var problems config.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("got %T, want config.Problems", err)
	}
	var got []string
	for _, p := range problems {
		place, _, _ := strings.Cut(p.String(), ": ")
		got = append(got, place)
	}
	want := "portero.yaml:1 portero.yaml:2 portero.yaml:4 portero.yaml:8 portero.yaml:10 portero.yaml:10 portero.yaml:11 portero.yaml:12 PORTERO_LITSEN PORTERO_LOG_LEVEL"
	if strings.Join(got, " ") != want {
		t.Errorf("got places\n%s\nwant\n%s\nin\n%v", strings.Join(got, " "), want, err)
	}
	for _, p := range problems {
		if !strings.Contains(p.Message, ";") && !strings.Contains(p.Message, "or set") {
			t.Errorf("%q does not say what to write", p)
		}
	}
}

// nineTokens are routes with an access token each.
func nineTokens(up string) string {
	var lines []string
	for i := range 9 {
		lines = append(lines, fmt.Sprintf("  - {%s, path: /r%d, access_token: {resource: \"https://a.example/%d\"}}", up, i, i))
	}
	return strings.Join(lines, "\n")
}
