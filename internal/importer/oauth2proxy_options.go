package importer

import "strings"

// oauthOption is one option of oauth2-proxy.
type oauthOption struct {
	flag  string // empty: the name with dashes
	truth bool   // stands without a value
	list  bool
	text  string // what to do where there is no counterpart. Empty: the importer reads it
}

const (
	theProvider = "belonged to the former provider; people sign in with Logto, whose application portero setup apply makes"
	theCookie   = "has no counterpart: Portero's cookie has one name and form (__Host-, Lax, HttpOnly, of one host), so there is nothing to set"
	theLogs     = "has no counterpart: logs go to standard error, as text or JSON by log.format; let the service manager keep them"
	thePages    = "has no counterpart: write the look under `pages`, and see it with portero pages DIR"
	thePath     = "has no counterpart: ask /_portero/healthz on any host, or /healthz and /readyz on the admin listener"
	nothing     = "needs nothing: "
)

// oauthOptions are the options of oauth2-proxy, as its file names them. // :: name → option
var oauthOptions = map[string]oauthOption{
	// read by the importer
	"authenticated_emails_file": {},
	"cookie_expire":             {},
	"cookie_secure":             {truth: true},
	"email_domains":             {flag: "email-domain", list: true},
	"http_address":              {},
	"https_address":             {},
	"metrics_address":           {},
	"pass_basic_auth":           {truth: true},
	"pass_host_header":          {truth: true},
	"pass_user_headers":         {truth: true},
	"prefer_email_to_user":      {truth: true},
	"proxy_prefix":              {},
	"redirect_url":              {},
	"request_logging":           {truth: true},
	"reverse_proxy":             {truth: true},
	"session_store_type":        {},
	"set_xauthrequest":          {truth: true},
	"skip_auth_regex":           {list: true},
	"skip_auth_routes":          {flag: "skip-auth-route", list: true},
	"tls_cert_file":             {},
	"tls_key_file":              {},
	"trusted_proxy_ips":         {flag: "trusted-proxy-ip", list: true},
	"upstream_timeout":          {},
	"upstreams":                 {flag: "upstream", list: true},

	"redis_ca_path":                  {},
	"redis_cluster_connection_urls":  {list: true},
	"redis_connection_url":           {},
	"redis_password":                 {},
	"redis_sentinel_connection_urls": {list: true},
	"redis_sentinel_master_name":     {},
	"redis_use_cluster":              {truth: true},
	"redis_use_sentinel":             {truth: true},
	"redis_username":                 {},

	// groups of people, read by the importer
	"allowed_groups":           {flag: "allowed-group", list: true},
	"allowed_roles":            {flag: "allowed-role", list: true},
	"bitbucket_repository":     {},
	"bitbucket_team":           {},
	"entra_id_allowed_tenants": {flag: "entra-id-allowed-tenant", list: true},
	"github_org":               {},
	"github_repo":              {},
	"github_team":              {},
	"github_users":             {flag: "github-user", list: true},
	"gitlab_groups":            {flag: "gitlab-group", list: true},
	"gitlab_projects":          {flag: "gitlab-project", list: true},
	"google_group":             {flag: "(a variable alone)", list: true},
	"google_groups":            {flag: "google-group", list: true},
	"keycloak_groups":          {flag: "keycloak-group", list: true},

	// the provider
	"acr_values":                                 {text: theProvider},
	"approval_prompt":                            {text: theProvider},
	"auth_request_response_mode":                 {text: theProvider},
	"azure_graph_group_field":                    {text: theProvider},
	"azure_tenant":                               {text: "restricted who could sign in with the former provider; say under `allow` who may come in, or let Logto's own users be those alone"},
	"backend_logout_url":                         {text: "needs nothing: a sign-out ends the session at Logto too"},
	"client_id":                                  {text: theProvider},
	"client_secret":                              {text: theProvider},
	"client_secret_file":                         {text: theProvider},
	"code_challenge_method":                      {text: nothing + "PKCE with S256 is always used"},
	"entra_id_federated_token_auth":              {truth: true, text: theProvider},
	"extra_jwt_issuers":                          {list: true, text: "has no counterpart: API clients bring access tokens of Logto, see `bearer` of a route"},
	"force_code_challenge_method":                {text: nothing + "PKCE with S256 is always used"},
	"github_token":                               {text: theProvider},
	"google_admin_api_user_scope":                {text: theProvider},
	"google_admin_email":                         {text: theProvider},
	"google_service_account_json":                {text: theProvider},
	"google_target_principal":                    {text: theProvider},
	"google_use_application_default_credentials": {text: theProvider},
	"google_use_organization_id":                 {text: theProvider},
	"insecure_oidc_allow_unverified_email":       {truth: true, text: "is not taken over: only verified addresses count; write unverified-email in `insecure` if others have to"},
	"insecure_oidc_skip_issuer_verification":     {truth: true, text: "is not taken over: the issuer is always verified"},
	"insecure_oidc_skip_nonce":                   {truth: true, text: "is not taken over: the nonce is always verified"},
	"jwt_key":                                    {text: theProvider},
	"jwt_key_file":                               {text: theProvider},
	"login_url":                                  {text: theProvider},
	"oidc_audience_claims":                       {flag: "oidc-audience-claim", list: true, text: theProvider},
	"oidc_email_claim":                           {text: theProvider},
	"oidc_enabled_signing_algs":                  {flag: "oidc-enabled-signing-alg", list: true, text: theProvider},
	"oidc_extra_audiences":                       {flag: "oidc-extra-audience", list: true, text: theProvider},
	"oidc_groups_claim":                          {text: "belonged to the former provider; Logto's roles take the place of groups"},
	"oidc_issuer_url":                            {text: theProvider},
	"oidc_jwks_url":                              {text: theProvider},
	"oidc_public_key_files":                      {flag: "oidc-public-key-file", list: true, text: theProvider},
	"profile_url":                                {text: theProvider},
	"prompt":                                     {text: theProvider},
	"provider":                                   {text: theProvider},
	"provider_ca_files":                          {flag: "provider-ca-file", list: true, text: "belonged to the former provider; write logto.ca_file if Logto's certificate is not of a public authority"},
	"provider_display_name":                      {text: theProvider},
	"pubjwk_url":                                 {text: theProvider},
	"redeem_url":                                 {text: theProvider},
	"resource":                                   {text: theProvider},
	"scope":                                      {text: "belonged to the former provider; Portero asks for the scopes that rules and headers need, and for those in logto.scopes"},
	"skip_claims_from_profile_url":               {truth: true, text: theProvider},
	"skip_oidc_discovery":                        {truth: true, text: theProvider},
	"use_system_trust_store":                     {truth: true, text: "belonged to the former provider; logto.ca_file names an authority, else the system's count"},
	"user_id_claim":                              {text: theProvider},
	"validate_url":                               {text: theProvider},

	// cookies and sessions
	"cookie_csrf_expire":             {text: nothing + "a sign-in that was begun is good for 60 minutes"},
	"cookie_csrf_per_request":        {truth: true, text: nothing + "each sign-in that was begun has a cookie of its own"},
	"cookie_csrf_per_request_limit":  {text: nothing + "ten sign-ins can be under way in one browser"},
	"cookie_csrf_samesite":           {text: theCookie},
	"cookie_domains":                 {flag: "cookie-domain", list: true, text: "has no counterpart: each host has a session of its own, and Logto's makes the second sign-in silent; name the hosts under routes[].hosts"},
	"cookie_httponly":                {truth: true, text: theCookie},
	"cookie_name":                    {text: theCookie},
	"cookie_path":                    {text: theCookie},
	"cookie_refresh":                 {text: nothing + "Logto's tokens are refreshed by use, shortly before they end"},
	"cookie_samesite":                {text: theCookie},
	"cookie_secret":                  {text: "is not taken over, since secrets are not shared between programs; portero secret makes one, and a store in a file makes its own"},
	"cookie_secret_file":             {text: "is not taken over, since secrets are not shared between programs; portero secret makes one, and a store in a file makes its own"},
	"redis_connection_idle_timeout":  {text: nothing + "connections that Redis has closed are replaced"},
	"redis_insecure_skip_tls_verify": {truth: true, text: "is not taken over: Redis has to prove who it is; write its authority in session.redis.tls.ca_file"},
	"redis_sentinel_password":        {text: "has no counterpart: Sentinels are asked with the user and the password of session.redis.url"},
	"session_cookie_minimal":         {truth: true, text: nothing + "tokens are never in cookies"},

	// headers
	"basic_auth_password":       {text: "has no counterpart: no password is sent to applications; let them read the headers of `identity`"},
	"pass_access_token":         {truth: true, text: "has no counterpart as a header of its own; `access_token` of a route sends Logto's access token as Authorization: Bearer"},
	"pass_authorization_header": {truth: true, text: "has no counterpart: the ID token is not sent; an application reads the headers of `identity`, or verifies identity.assertion"},
	"request_id_header":         {text: nothing + "X-Request-Id is always sent"},
	"set_authorization_header":  {truth: true, text: "has no counterpart: the ID token is not sent; an application reads the headers of `identity`, or verifies identity.assertion"},
	"set_basic_auth":            {truth: true, text: "has no counterpart: no password is sent to applications; let them read the headers of `identity`"},
	"signature_key":             {text: "has no counterpart; identity.assertion signs who somebody is"},
	"skip_auth_strip_headers":   {truth: true, text: nothing + "headers of that kind from outside are always removed"},

	// requests
	"allow_query_semicolons":            {truth: true, text: nothing + "queries are forwarded byte for byte"},
	"api_routes":                        {flag: "api-route", list: true, text: nothing + "only a browser that opens a page is sent to sign in, everything else gets 401"},
	"bearer_token_login_fallback":       {truth: true, text: nothing + "a wrong bearer token gets 401"},
	"disable_keep_alives":               {truth: true, text: "has no counterpart: connections to applications are kept; let the application close them"},
	"encode_state":                      {truth: true, text: nothing + "the state is sealed"},
	"flush_interval":                    {text: nothing + "answers are streamed as they come"},
	"force_https":                       {truth: true, text: nothing + "with an https external_url requests over http are redirected"},
	"force_json_errors":                 {truth: true, text: nothing + "who asks for JSON gets JSON"},
	"gcp_healthchecks":                  {truth: true, text: thePath},
	"htpasswd_file":                     {text: "has no counterpart: people sign in by e-mail; add those of the file at Logto, or let machines bring access tokens"},
	"htpasswd_user_groups":              {flag: "htpasswd-user-group", list: true, text: "has no counterpart: give roles at Logto"},
	"ping_path":                         {text: thePath},
	"ping_user_agent":                   {text: thePath},
	"proxy_websockets":                  {truth: true, text: nothing + "WebSockets from pages of the same host work, others are refused"},
	"ready_path":                        {text: thePath},
	"real_client_ip_header":             {text: "has no counterpart: X-Forwarded-For counts, from trusted_proxies alone; let the proxy in front send it"},
	"relative_redirect_url":             {truth: true, text: "has no counterpart: URLs come from external_url and routes[].hosts"},
	"skip_auth_preflight":               {truth: true, text: "is not taken over: OPTIONS stays protected; let the application be on one host with its pages, or write a route for OPTIONS"},
	"skip_jwt_bearer_tokens":            {truth: true, text: "is not taken over: API clients bring access tokens of Logto, see `bearer` of a route"},
	"skip_provider_button":              {truth: true, text: nothing + "there is no page before Logto's"},
	"ssl_insecure_skip_verify":          {truth: true, text: "is not taken over: certificates are always verified; write logto.ca_file"},
	"ssl_upstream_insecure_skip_verify": {truth: true, text: "is not taken over: certificates of applications are always verified; add their authority to the system's"},
	"tls_cipher_suites":                 {flag: "tls-cipher-suite", list: true, text: nothing + "the suites of Go's standard library, TLS 1.2 and later"},
	"tls_min_version":                   {text: nothing + "the suites of Go's standard library, TLS 1.2 and later"},
	"trusted_ips":                       {flag: "trusted-ip", list: true, text: "is not taken over: an address is nobody, so these networks stay protected; to bind people to networks write `networks` into an entry of `allow`"},
	"whitelist_domains":                 {flag: "whitelist-domain", list: true, text: nothing + "people come back to hosts of the configuration alone"},
	"metrics_secure_address":            {text: "has no counterpart: metrics are on admin.metrics_listen without TLS; keep that address inside"},
	"metrics_tls_cert_file":             {text: "has no counterpart: metrics are on admin.metrics_listen without TLS; keep that address inside"},
	"metrics_tls_key_file":              {text: "has no counterpart: metrics are on admin.metrics_listen without TLS; keep that address inside"},

	// pages and logs
	"banner":                  {text: thePages},
	"custom_sign_in_logo":     {text: "has no counterpart: write pages.logo_file"},
	"custom_templates_dir":    {text: thePages},
	"display_htpasswd_form":   {truth: true, text: nothing + "there is no such form"},
	"footer":                  {text: thePages},
	"show_debug_on_error":     {truth: true, text: nothing + "pages show a code that finds the log line"},
	"auth_logging":            {truth: true, text: "has no counterpart: log.audit_file has one JSON line for each decision and sign-in"},
	"auth_logging_format":     {text: "has no counterpart: log.audit_file has one JSON line for each decision and sign-in"},
	"errors_to_info_log":      {truth: true, text: theLogs},
	"exclude_logging_paths":   {list: true, flag: "exclude-logging-path", text: theLogs},
	"logging_compress":        {truth: true, text: theLogs},
	"logging_filename":        {text: theLogs},
	"logging_local_time":      {truth: true, text: theLogs},
	"logging_max_age":         {text: theLogs},
	"logging_max_backups":     {text: theLogs},
	"logging_max_size":        {text: theLogs},
	"request_logging_format":  {text: theLogs},
	"silence_ping_logging":    {truth: true, text: nothing + "health checks are not logged"},
	"standard_logging":        {truth: true, text: theLogs},
	"standard_logging_format": {text: theLogs},
}

// oauthRestrictions are the options that let in members of a group alone. A role of Logto takes the place of each group;
// nobody has it until the operator gives it.
var oauthRestrictions = strings.Fields(`allowed_groups allowed_roles bitbucket_team bitbucket_repository entra_id_allowed_tenants github_org github_team
	github_repo github_users gitlab_groups gitlab_projects google_group google_groups keycloak_groups`)

// oauthFlag is the option of a flag.
func oauthFlag(name string) (string, bool, bool) {
	for option, o := range oauthOptions {
		if o.flag == name || o.flag == "" && strings.ReplaceAll(option, "_", "-") == name {
			return option, o.truth, o.list
		}
	}
	return strings.ReplaceAll(name, "-", "_"), false, false
}
