package config

// entry is what the structs cannot say about a key. Values are YAML, as they would stand in the file.
type entry struct {
	path    string
	value   string   // the default. Empty: the type's zero value
	example string   // what the example shows instead of the default; a block of lines for a list of sections
	doc     string   // one line
	words   []string // the only texts admitted, for each element of a list
	flag    bool     // has a flag: log.level is --log-level
	start   bool     // a reload cannot change it, nor what is below it
	later   bool     // recognised, and refused unless it has its default; so is what is below it
	free    bool     // text of any kind: line breaks and words such as "…" are fine

	// print is what of a secret may be printed; one that it leaves as it is holds nothing secret. nil: nothing may.
	print func(string) string
}

// sameAs are the keys whose entries stand elsewhere, with all that is below them.
// :: path → path of the entries
var sameAs = map[string]string{
	"routes[].allow[]":            "allow[]",
	"routes[].identity.headers[]": "identity.headers[]",
	"routes[].identity.preset":    "identity.preset",
	"routes[].identity.assertion": "identity.assertion",

	"routes[].identity.assertion.audience": "routes[].identity.assertion.audience", // each application has its own
	"routes[].support":                     "pages.support",
}

// entries has every key once, in the order of the file. The words and defaults are the contract with operators.
var entries = []entry{
	{path: "listen", value: "127.0.0.1:3000", doc: "the public listener; the container image sets 0.0.0.0:3000", flag: true, start: true},
	{path: "external_url", value: "http://localhost:3000", doc: "how browsers reach it: scheme, host, port; no path", flag: true, start: true},
	{path: "trusted_proxies", doc: "prefixes whose X-Forwarded-* we believe; nobody by default"},
	{path: "upstream", doc: "short for one route `/` to this URL; excludes `routes`", flag: true},

	{path: "admin", doc: "the listener for operators", start: true},
	{path: "admin.listen", value: "127.0.0.1:3010", doc: "off loopback a token is required"},
	{path: "admin.hosts", doc: "names it answers to, beside addresses and localhost"},
	{path: "admin.token", doc: "or token_file; none: one is made at start and written beside the session file"},
	{path: "admin.token_file"},
	{path: "admin.metrics_listen", doc: "one more listener with /healthz, /readyz and /metrics alone"},

	{path: "tls", doc: "reloaded when the files change"},
	{path: "tls.cert_file", doc: "PEM, the chain included"},
	{path: "tls.key_file"},

	{path: "logto", doc: "where people sign in"},
	{path: "logto.endpoint", example: "https://tenant.logto.app/", doc: "as Logto's console shows it"},
	{path: "logto.internal_endpoint", doc: "where Portero itself reaches Logto, if not `endpoint`; issuer and browser URLs stay those of `endpoint`"},
	{path: "logto.ca_file", doc: "PEM certificates of the authority behind Logto's own; none: the system's"},
	{path: "logto.app_id", example: "abc", doc: "of the application of type Traditional web"},
	{path: "logto.app_secret", example: "…", doc: "or app_secret_file"},
	{path: "logto.app_secret_file"},
	{path: "logto.scopes", value: "[email]", doc: "openid, offline_access, profile always; roles, organizations, custom_data … where rules or headers need them"},
	{path: "logto.resources", doc: "API resources that sign-ins are granted, beside those of access_token"},
	{path: "logto.sign_in", doc: "how Logto's sign-in begins"},
	{path: "logto.sign_in.first_screen", value: `"identifier:sign_in"`, doc: "empty: Logto's own choice",
		words: []string{"", "sign_in", "register", "identifier:sign_in", "identifier:register", "reset_password", "single_sign_on"}},
	{path: "logto.sign_in.identifiers", value: "[email]", doc: "email, phone, username: what the identifier screens ask for", words: []string{"email", "phone", "username"}},
	{path: "logto.sign_in.registration", value: "open", doc: "open | closed, for `setup`", words: []string{RegistrationOpen, RegistrationClosed}},
	{path: "logto.sign_in.extra_params", doc: "more parameters of the authorization request: {name, value}"},
	{path: "logto.sign_in.extra_params[].name", doc: "ui_locales, organization_id, direct_sign_in …"},
	{path: "logto.sign_in.extra_params[].value"},
	{path: "logto.management", doc: "a machine-to-machine application, for `setup`, `invite`, ending Logto's sessions"},
	{path: "logto.management.app_id"},
	{path: "logto.management.app_secret", doc: "or app_secret_file"},
	{path: "logto.management.app_secret_file"},
	{path: "logto.management.resource", example: "https://tenant.logto.app/api", doc: "of the Management API; default: https://TENANT.logto.app/api at Logto Cloud, https://default.logto.app/api at a Logto of your own"},

	{path: "mailgun", doc: "for `setup`, `invite` and `demo`; Logto's own field names in brackets"},
	{path: "mailgun.endpoint", value: "https://api.mailgun.net", doc: "[endpoint] EU: https://api.eu.mailgun.net"},
	{path: "mailgun.domain", example: "mg.example.com", doc: "[domain]"},
	{path: "mailgun.api_key", example: "…", doc: "[apiKey] or api_key_file"},
	{path: "mailgun.api_key_file"},
	{path: "mailgun.from", example: `"Example <no-reply@mg.example.com>"`, doc: "[from]"},
	{path: "mailgun.deliveries", doc: "[deliveries] Register, SignIn, ForgotPassword, Generic; default: a mail in English and Spanish", example: `
- {usage: SignIn, subject: "{{code}} is your code", reply_to: "", html: "<p>{{code}}</p>", text: "{{code}}"}
- {usage: Register, subject: "Welcome", template: welcome, variables: [{name: brand, value: Example}]}`},
	{path: "mailgun.deliveries[].usage", words: []string{"Register", "SignIn", "ForgotPassword", "Generic"}},
	{path: "mailgun.deliveries[].subject", doc: "{{code}} is the code"},
	{path: "mailgun.deliveries[].reply_to"},
	{path: "mailgun.deliveries[].html", doc: "{{code}} is the code; excludes template", free: true},
	{path: "mailgun.deliveries[].text", free: true},
	{path: "mailgun.deliveries[].template", doc: "name of a template at Mailgun; excludes html and text"},
	{path: "mailgun.deliveries[].variables", doc: "values for the template, or for {{name}} in subject, html and text"},
	{path: "mailgun.deliveries[].variables[].name"},
	{path: "mailgun.deliveries[].variables[].value", free: true},

	{path: "session", doc: "how long people stay signed in"},
	{path: "session.store", value: "file", doc: "memory | file | redis; see docs/sessions.md", words: []string{StoreMemory, StoreFile, StoreRedis}, start: true},
	{path: "session.lifetime", value: "336h", doc: "absolute, from sign-in; also the cookie's Max-Age; 336h at most"},
	{path: "session.idle_timeout", value: "24h", doc: "0s: sessions do not idle"},
	{path: "session.after_idle", value: "code", doc: "code (a fresh code is asked for) | silent (Logto's own session may sign in again)", words: []string{AfterIdleCode, AfterIdleSilent}},
	{path: "session.refresh_grace", value: "1h", doc: "how long a session outlives an unreachable Logto"},
	{path: "session.secret", doc: "or secret_file: seals records and cookies; `portero secret` prints one. None: `memory` makes one per start, `file` keeps one beside its file, `redis` refuses to start"},
	{path: "session.secret_file"},
	{path: "session.old_secrets", doc: "{value} or {file}: secrets that still open what they sealed"},
	{path: "session.old_secrets[].value"},
	{path: "session.old_secrets[].file"},
	{path: "session.file", start: true},
	{path: "session.file.path", value: "portero.db", doc: "relative to the configuration file; belongs to one process"},
	{path: "session.redis", doc: "one Redis for all replicas, which need the same `secret`", start: true},
	{path: "session.redis.url", value: `"redis://127.0.0.1:6379/0"`, print: withoutPassword,
		doc: "or url_file; redis | rediss (TLS) | unix; rediss://USER:PASSWORD@HOST:6379/0. With `addresses` its host does not count"},
	{path: "session.redis.url_file"},
	{path: "session.redis.addresses", doc: "HOST:PORT of the Sentinels, or of some nodes of the cluster"},
	{path: "session.redis.master_name", doc: "the name by which the Sentinels know the master"},
	{path: "session.redis.cluster", value: "false", doc: "true: Redis Cluster"},
	{path: "session.redis.tls", doc: "with rediss"},
	{path: "session.redis.tls.ca_file", doc: "PEM certificates of the authority behind Redis's own; none: the system's"},
	{path: "session.redis.key_prefix", value: `"portero:"`, doc: "begins every key"},

	{path: "endpoints", doc: "the first three also answer under the prefix; an empty one is switched off", start: true},
	{path: "endpoints.sign_in", value: "/sign-in"},
	{path: "endpoints.callback", value: "/callback"},
	{path: "endpoints.sign_out", value: "/sign-out"},
	{path: "endpoints.prefix", value: "/_portero", doc: "nothing under it ever reaches an application"},
	{path: "endpoints.aliases", doc: "oauth2-proxy: /oauth2/start, sign_in, sign_out, auth and userinfo answer too; see docs/migrating.md", words: []string{"", AliasesOAuth2Proxy}},

	{path: "allow", doc: "who may come in where a route says nothing; an entry has the fields of routes[].allow", example: `
- {email_domains: ["*"]}`},
	{path: "allow[].emails", doc: "whole addresses"},
	{path: "allow[].email_domains", doc: `exact domains; "*" is everybody who can receive a code`},
	{path: "allow[].roles"},
	{path: "allow[].organizations", doc: "identifiers, as Logto's console shows them"},
	{path: "allow[].organization_roles", doc: "ORGANIZATION:ROLE, as Logto's claim has them"},
	{path: "allow[].claims", doc: "all of them must hold"},
	{path: "allow[].claims[].name", doc: "a claim or a path: custom_data.department"},
	{path: "allow[].claims[].values", doc: "any of them"},
	{path: "allow[].networks", doc: "of the client's address"},
	{path: "allow[].methods", doc: "the entry counts for these alone; HEAD counts as GET"},
	{path: "allow[].expression", doc: "CEL over claims, request and session; see docs/access.md", free: true},
	{path: "email_domains", doc: "short for `allow: [{email_domains: …}]` (environment: PORTERO_EMAIL_DOMAINS); excludes `allow`"},

	{path: "identity", doc: "what upstreams are told; a route may override"},
	{path: "identity.headers", doc: "claim: a name, a path (custom_data.department) or a list: the first non-empty wins; encoding: strict (default) | percent | base64 | rfc2047; max_bytes: 1 to 16384 (4096); overflow: drop (default) | deny", value: `
- {name: X-Forwarded-User, claim: sub}
- {name: X-Forwarded-Email, claim: email}
- {name: X-Forwarded-Preferred-Username, claim: [username, email]}
- {name: X-Forwarded-Name, claim: name, encoding: percent}
- {name: X-Forwarded-Groups, claim: roles, join: ","}`},
	{path: "identity.headers[].name"},
	{path: "identity.headers[].claim"},
	{path: "identity.headers[].encoding", value: "strict", words: []string{EncodingStrict, EncodingPercent, EncodingBase64, EncodingRFC2047}},
	{path: "identity.headers[].join", value: `","`, doc: "between the elements of a list", free: true},
	{path: "identity.headers[].max_bytes", value: "4096", doc: "of the value as it is sent; all headers together have 16384"},
	{path: "identity.headers[].overflow", value: "drop", words: []string{OverflowDrop, OverflowDeny}, doc: "drop (the request leaves without the header) | deny (403)"},
	{path: "identity.preset", doc: "instead of headers: remote-user | auth-request | pomerium | grafana | none; see docs/headers.md",
		words: []string{"", PresetRemoteUser, PresetAuthRequest, PresetPomerium, PresetGrafana, PresetNone}},
	{path: "identity.assertion", doc: "who somebody is, signed; see docs/assertion.md"},
	{path: "identity.assertion.enabled", value: "false"},
	{path: "identity.assertion.header", value: "X-Portero-Assertion"},
	{path: "identity.assertion.lifetime", value: "60s", doc: "5s to 60s"},
	{path: "identity.assertion.bind", doc: "method, path: what of the request it is good for alone", words: []string{BindMethod, BindPath}},

	{path: "routes", doc: "most specific wins: host, then longest path of whole segments, exact before prefix"},
	{path: "routes[].name", example: "wiki", doc: "in logs and metrics; default: the path"},
	{path: "routes[].title", example: "Wiki", doc: "what people read"},
	{path: "routes[].hosts", example: "[wiki.example.com]", doc: "default: the host of external_url"},
	{path: "routes[].path", value: "/", doc: "whole segments"},
	{path: "routes[].match", value: "prefix", doc: "prefix | exact", words: []string{MatchPrefix, MatchExact}},
	{path: "routes[].methods", doc: "default all; a route whose methods lack the request's is no candidate; HEAD counts as GET"},
	{path: "routes[].upstreams", example: `
- {url: "http://127.0.0.1:8080"}`},
	{path: "routes[].upstreams[].url"},
	{path: "routes[].access", value: "signed-in", doc: "public | optional (everybody, and told who if signed in) | signed-in | deny",
		words: []string{AccessPublic, AccessOptional, AccessSignedIn, AccessDeny}},
	{path: "routes[].allow", doc: "any entry suffices; an entry's fields must all hold; only with signed-in", example: `
- {emails: [a@example.com], email_domains: [example.com], roles: [admin], organizations: [], organization_roles: [], claims: [{name: custom_data.department, values: [it]}], networks: [10.0.0.0/8], methods: [], expression: ""}
- {methods: [GET], expression: 'claims.email.endsWith("@example.com") && request.client_in("10.0.0.0/8")'}`},
	{path: "routes[].paths", value: "strict", doc: "strict (400 for a path that applications read differently) | by-route (forwarded where every reading selects this route)", words: []string{PathsStrict, PathsByRoute}},
	{path: "routes[].strip_prefix", value: "false"},
	{path: "routes[].preserve_host", value: "true"},
	{path: "routes[].timeouts", doc: "0s: no bound"},
	{path: "routes[].timeouts.connect", value: "5s"},
	{path: "routes[].timeouts.response_header", value: "60s"},
	{path: "routes[].timeouts.idle", value: "0s"},
	{path: "routes[].authorization", value: "pass", doc: "pass | drop: the client's own Authorization header", words: []string{AuthorizationPass, AuthorizationDrop}},
	{path: "routes[].cache", value: "protect", doc: "protect (nothing of a signed-in person in shared caches) | upstream", words: []string{CacheProtect, CacheUpstream}},
	{path: "routes[].identity", doc: "what is said here replaces what `identity` says"},
	{path: "routes[].identity.headers", doc: "here the application knows people by their address; an empty list tells nothing", example: `
- {name: X-Forwarded-User, claim: email, encoding: strict, join: ",", max_bytes: 4096, overflow: drop}`},
	{path: "routes[].identity.assertion.audience", doc: "default: the origin that was typed, like https://wiki.example.com"},
	{path: "routes[].report_only", value: "false", doc: "true: whom the rules deny is let in all the same, once signed in, and the log says would_deny"},
	{path: "routes[].step_up"},
	{path: "routes[].step_up.max_age", value: "0s", doc: "how old the sign-in may be, 1m or more; 0s: any age"},
	{path: "routes[].access_token", doc: "of Logto, for the person: the application gets it as Authorization: Bearer; see docs/api-clients.md"},
	{path: "routes[].access_token.resource", doc: "API identifier"},
	{path: "routes[].access_token.organization", doc: "identifier of an organization; with resource: as a member of it"},
	{path: "routes[].bearer", doc: "for programs: Authorization: Bearer with a JWT access token of Logto's; see docs/api-clients.md"},
	{path: "routes[].bearer.audience", doc: "the API identifier the tokens are for; empty: no token is accepted"},
	{path: "routes[].cors", doc: "scripts of other origins: preflights are answered here, and their scripts read our answers too; see docs/routes.md"},
	{path: "routes[].cors.origins", doc: "exact, like https://app.example.com; \"*\" is every one, without credentials. Empty: the application answers for itself"},
	{path: "routes[].cors.methods", doc: "default: all that the route takes"},
	{path: "routes[].cors.headers", doc: "default: all"},
	{path: "routes[].cors.credentials", value: "false", doc: "true: cookies may come along; only pages of the same site bring ours"},
	{path: "routes[].cors.max_age", value: "10m", doc: "how long browsers keep the answer to a preflight; 24h at most"},
	{path: "routes[].forward_auth_only", value: "false", doc: "true, without upstreams: another proxy reaches the application, and asks PREFIX/auth about each request"},

	{path: "pages", doc: "branding of the pages that people see"},
	{path: "pages.name", doc: "Example Intranet; default: the host. A route's `title` names its application"},
	{path: "pages.logo_file", doc: "SVG or PNG, up to 32 KB, shown 2rem high"},
	{path: "pages.logo_dark_file", doc: "the same for dark"},
	{path: "pages.accent", value: `"#0b5cad"`, doc: "colour of links and buttons; one that is hard to read is refused, and the nearest that passes is named"},
	{path: "pages.accent_dark", doc: "default: derived"},
	{path: "pages.languages", value: "[en, es]", doc: "the first is the fallback", words: []string{"en", "es"}},
	{path: "pages.support", doc: "whom people can ask"},
	{path: "pages.support.name"},
	{path: "pages.support.email"},
	{path: "pages.support.url"},
	{path: "pages.support.phone"},
	{path: "pages.home_url", doc: "target of \"start page\"; default / of the host. Our own hosts only"},
	{path: "pages.texts", doc: "{page: denied, part: lead, lang: es, text: …}; plain text, 400 characters, {app} {email} {support} {wait} {timeout} {max_age}"},
	{path: "pages.texts[].page"},
	{path: "pages.texts[].part", words: []string{"heading", "lead", "primary", "secondary"}},
	{path: "pages.texts[].lang", words: []string{"en", "es"}},
	{path: "pages.texts[].text", free: true},

	{path: "insecure", doc: "plain-http | trust-everybody | public-root | unverified-email; logged at every start",
		words: []string{InsecurePlainHTTP, InsecureTrustEverybody, InsecurePublicRoot, InsecureUnverifiedEmail}},
	{path: "reload"},
	{path: "reload.watch", value: "false", doc: "SIGHUP always reloads; certificates and secret files are always watched"},
	{path: "shutdown"},
	{path: "shutdown.delay", value: "0s", doc: "the container image sets 5s; a second signal ends at once"},
	{path: "shutdown.timeout", value: "25s"},
	{path: "log"},
	{path: "log.level", value: "info", doc: "debug | info | warn | error", words: []string{"debug", "info", "warn", "error"}, flag: true},
	{path: "log.format", doc: "text | json; default: text on a terminal, else json", words: []string{"", "text", "json"}, flag: true},
	{path: "log.access", value: "true", doc: "one line for each request"},
	{path: "log.audit_file", doc: "one JSON line for each decision, sign-in and sign-out"},
	{path: "telemetry", later: true},
	{path: "telemetry.otlp_endpoint"},
}
