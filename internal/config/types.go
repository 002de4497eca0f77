package config

import (
	"net/netip"
	"net/url"
	"time"
)

// Config is one whole configuration, checked and complete: short forms are written out, defaults are filled in, names of
// files are absolute, and secrets that stood in files are read. It is never changed after Load.
//
// A field's key is in its tag; what the key means, its default and the words it admits are in keys.go.
type Config struct {
	Listen         string         `key:"listen"`
	ExternalURL    *url.URL       `key:"external_url"` // scheme and canonical host only
	TrustedProxies []netip.Prefix `key:"trusted_proxies"`
	Upstream       *url.URL       `key:"upstream"` // nil after Load: it has become the one entry of Routes
	Admin          Admin          `key:"admin"`
	TLS            TLS            `key:"tls"`
	Logto          Logto          `key:"logto"`
	Mailgun        Mailgun        `key:"mailgun"`
	Session        Session        `key:"session"`
	Endpoints      Endpoints      `key:"endpoints"`
	Allow          []Rule         `key:"allow"`
	EmailDomains   []string       `key:"email_domains"` // nil after Load: they have become an entry of Allow
	Identity       Identity       `key:"identity"`
	Routes         []Route        `key:"routes"` // in the order of the file; package route sorts
	Pages          Pages          `key:"pages"`
	Insecure       []string       `key:"insecure"`
	Reload         Reload         `key:"reload"`
	Shutdown       Shutdown       `key:"shutdown"`
	Log            Log            `key:"log"`
	Telemetry      Telemetry      `key:"telemetry"`

	// File is the absolute name of the configuration file. Empty: there was none.
	File string
	// Warnings are things that work and are probably not meant.
	Warnings []Problem

	secretFiles []string            // absolute names, in the order of the keys
	source      string              // name of the file, as it was given
	places      map[string]*setting // :: path of a key → where it was written
}

// Admin is the listener for operators.
type Admin struct {
	Listen        string   `key:"listen"`
	Hosts         []string `key:"hosts"` // canonical, without port
	Token         Secret   `key:"token"` // not set: the gateway makes one at start
	TokenFile     string   `key:"token_file"`
	MetricsListen string   `key:"metrics_listen"` // empty: none
}

// TLS is the certificate of the public listener. Empty: it speaks plain HTTP.
type TLS struct {
	CertFile string `key:"cert_file"`
	KeyFile  string `key:"key_file"`
}

// Enabled says whether the public listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Logto is the OpenID provider.
type Logto struct {
	Endpoint         *url.URL   `key:"endpoint"`          // its path ends in a slash
	InternalEndpoint *url.URL   `key:"internal_endpoint"` // nil: Endpoint; its path ends in a slash
	CAFile           string     `key:"ca_file"`
	AppID            string     `key:"app_id"`
	AppSecret        Secret     `key:"app_secret"`
	AppSecretFile    string     `key:"app_secret_file"`
	Scopes           []string   `key:"scopes"` // as configured; FinalScopes has what is asked for
	Resources        []string   `key:"resources"`
	SignIn           SignIn     `key:"sign_in"`
	Management       Management `key:"management"`

	finalScopes    []string
	finalResources []string
	needsUserinfo  bool
}

// SignIn is how Logto's sign-in begins.
type SignIn struct {
	FirstScreen  string   `key:"first_screen"`
	Identifiers  []string `key:"identifiers"`
	Registration string   `key:"registration"` // RegistrationOpen or RegistrationClosed
	ExtraParams  []Param  `key:"extra_params"`
}

// Who may register at Logto.
const (
	RegistrationOpen   = "open"
	RegistrationClosed = "closed"
)

// Param is a parameter that the authorization request gets in addition.
type Param struct {
	Name  string `key:"name"`
	Value string `key:"value"`
}

// Management is the machine-to-machine application for Logto's Management API.
type Management struct {
	AppID         string `key:"app_id"`
	AppSecret     Secret `key:"app_secret"`
	AppSecretFile string `key:"app_secret_file"`
	Resource      string `key:"resource"`
}

// Mailgun sends the mails. Domain is empty where nothing is configured.
type Mailgun struct {
	Endpoint   *url.URL   `key:"endpoint"`
	Domain     string     `key:"domain"`
	APIKey     Secret     `key:"api_key"`
	APIKeyFile string     `key:"api_key_file"`
	From       string     `key:"from"`
	Deliveries []Delivery `key:"deliveries"`
}

// Delivery is the mail for one usage: content, or a template at Mailgun.
type Delivery struct {
	Usage     string  `key:"usage"` // Register, SignIn, ForgotPassword, Generic
	Subject   string  `key:"subject"`
	ReplyTo   string  `key:"reply_to"`
	HTML      string  `key:"html"`
	Text      string  `key:"text"`
	Template  string  `key:"template"`
	Variables []Param `key:"variables"`
}

// Session is how long people stay signed in, and where that is kept.
type Session struct {
	Store        string        `key:"store"` // StoreMemory, StoreFile or StoreRedis
	Lifetime     time.Duration `key:"lifetime"`
	IdleTimeout  time.Duration `key:"idle_timeout"` // 0: sessions do not idle
	AfterIdle    string        `key:"after_idle"`   // AfterIdleCode or AfterIdleSilent
	RefreshGrace time.Duration `key:"refresh_grace"`
	Secret       Secret        `key:"secret"` // not set: the gateway makes one, save with StoreRedis
	SecretFile   string        `key:"secret_file"`
	OldSecrets   []OldSecret   `key:"old_secrets"`
	File         SessionFile   `key:"file"`
	Redis        Redis         `key:"redis"`
}

// Where sessions are kept.
const (
	StoreMemory = "memory"
	StoreFile   = "file"
	StoreRedis  = "redis"
)

// What happens to a person whose session idled.
const (
	AfterIdleCode   = "code"
	AfterIdleSilent = "silent"
)

// OldSecret still opens what it sealed.
type OldSecret struct {
	Value Secret `key:"value" file:"file"`
	File  string `key:"file"`
}

// SessionFile is the store in a file.
type SessionFile struct {
	Path string `key:"path"`
}

// Redis is the store in Redis. Server has what URL says.
type Redis struct {
	URL        Secret   `key:"url"` // only its password is one
	URLFile    string   `key:"url_file"`
	Addresses  []string `key:"addresses"`   // of Sentinels or of a cluster, canonical, with port; empty: the host of URL
	MasterName string   `key:"master_name"` // empty: no Sentinels
	Cluster    bool     `key:"cluster"`
	TLS        RedisTLS `key:"tls"`
	KeyPrefix  string   `key:"key_prefix"`
}

// RedisTLS is who Redis has to prove to be.
type RedisTLS struct {
	CAFile string `key:"ca_file"`
}

// Endpoints are the paths that the gateway answers itself. The first three are empty when switched off; they answer
// under the prefix all the same.
type Endpoints struct {
	SignIn   string `key:"sign_in"`
	Callback string `key:"callback"`
	SignOut  string `key:"sign_out"`
	Prefix   string `key:"prefix"`
	Aliases  string `key:"aliases"` // "": none
}

// The programs whose endpoints are answered too.
const AliasesOAuth2Proxy = "oauth2-proxy"

// AliasPrefix is the path that the endpoints of Aliases are under; "": there are none.
func (e Endpoints) AliasPrefix() string {
	if e.Aliases == AliasesOAuth2Proxy {
		return "/oauth2"
	}
	return ""
}

// Rule is one entry of `allow`: its fields must all hold, of a field's list any value is enough. Package access has the same
// fields, and says what they mean.
type Rule struct {
	Emails            []string       `key:"emails"`
	EmailDomains      []string       `key:"email_domains"`
	Roles             []string       `key:"roles"`
	Organizations     []string       `key:"organizations"`
	OrganizationRoles []string       `key:"organization_roles"`
	Claims            []Claim        `key:"claims"`
	Networks          []netip.Prefix `key:"networks"`
	Methods           []string       `key:"methods"`
	Expression        string         `key:"expression"`
}

// Claim is a condition on a claim.
type Claim struct {
	Name   string  `key:"name"`
	Values Scalars `key:"values"`
}

// Scalars is a list of texts, numbers and booleans, each kept as it was written.
type Scalars []string

// Identity is what upstreams are told about a person.
type Identity struct {
	Headers   []Header  `key:"headers"` // after Load: those of Preset, if there is one
	Preset    string    `key:"preset"`
	Assertion Assertion `key:"assertion"`
}

// RouteIdentity is what the upstreams of a route are told. After Load it is complete.
type RouteIdentity struct {
	Headers   []Header       `key:"headers"`
	Preset    string         `key:"preset"`
	Assertion RouteAssertion `key:"assertion"`
}

// The presets. Each is a list of headers; pomerium has the assertion too.
const (
	PresetRemoteUser  = "remote-user"
	PresetAuthRequest = "auth-request"
	PresetPomerium    = "pomerium"
	PresetGrafana     = "grafana"
	PresetNone        = "none"
)

// Header is one header with the identity.
type Header struct {
	Name     string `key:"name"`
	Claim    Names  `key:"claim"` // the first that is not empty wins
	Encoding string `key:"encoding"`
	Join     string `key:"join"`
	MaxBytes int    `key:"max_bytes"`
	Overflow string `key:"overflow"` // OverflowDrop or OverflowDeny
}

// What becomes of a request whose header would be longer than it may be.
const (
	OverflowDrop = "drop" // it leaves without the header
	OverflowDeny = "deny" // it does not leave
)

// Names is one name, or a list of them.
type Names []string

// How a value that a header cannot carry as it is leaves.
const (
	EncodingStrict  = "strict"
	EncodingPercent = "percent"
	EncodingBase64  = "base64"
	EncodingRFC2047 = "rfc2047"
)

// Assertion is the signed form of the identity.
type Assertion struct {
	Enabled  bool          `key:"enabled"` // PresetPomerium sends one in a header of its own without it
	Header   string        `key:"header"`
	Lifetime time.Duration `key:"lifetime"`
	Bind     []string      `key:"bind"` // BindMethod, BindPath
}

// RouteAssertion is an assertion for the application behind one route.
type RouteAssertion struct {
	Enabled  bool          `key:"enabled"`
	Header   string        `key:"header"`
	Lifetime time.Duration `key:"lifetime"`
	Bind     []string      `key:"bind"`
	Audience string        `key:"audience"` // empty: the origin that was typed
}

// What of the request an assertion is good for alone.
const (
	BindMethod = "method"
	BindPath   = "path"
)

// Route is a part of an application and who may use it. After Load every field has its effective value: Hosts, Allow and
// Identity.Headers are those of the top level where the route says nothing.
type Route struct {
	Name          string        `key:"name"`  // unique
	Title         string        `key:"title"` // empty: Pages.Name, else the host
	Hosts         []string      `key:"hosts"` // canonical, without port
	Path          string        `key:"path"`  // without a slash at its end, save "/"
	Match         string        `key:"match"` // MatchPrefix or MatchExact
	Methods       []string      `key:"methods"`
	Upstreams     []Upstream    `key:"upstreams"`
	Access        string        `key:"access"`
	Allow         []Rule        `key:"allow"` // nil unless Access is AccessSignedIn
	Paths         string        `key:"paths"` // PathsStrict or PathsByRoute
	StripPrefix   bool          `key:"strip_prefix"`
	PreserveHost  bool          `key:"preserve_host"`
	Timeouts      Timeouts      `key:"timeouts"`
	Authorization string        `key:"authorization"` // AuthorizationPass or AuthorizationDrop
	Cache         string        `key:"cache"`         // CacheProtect or CacheUpstream
	Identity      RouteIdentity `key:"identity"`
	Support       Support       `key:"support"` // empty: that of Pages
	ReportOnly    bool          `key:"report_only"`
	StepUp        StepUp        `key:"step_up"`
	AccessToken   AccessToken   `key:"access_token"`
	Bearer        Bearer        `key:"bearer"`
	CORS          CORS          `key:"cors"` // without Origins: the application's own business

	// ForwardAuthOnly is for an application that another proxy reaches: nothing is forwarded, that proxy asks.
	ForwardAuthOnly bool `key:"forward_auth_only"`
}

// How a route's path is compared.
const (
	MatchPrefix = "prefix"
	MatchExact  = "exact"
)

// Who may use a route.
const (
	AccessPublic   = "public"
	AccessOptional = "optional"
	AccessSignedIn = "signed-in"
	AccessDeny     = "deny"
)

// Which paths a route forwards.
const (
	PathsStrict  = "strict"
	PathsByRoute = "by-route"
)

// What becomes of the client's own Authorization header.
const (
	AuthorizationPass = "pass"
	AuthorizationDrop = "drop"
)

// Who decides what caches may keep.
const (
	CacheProtect  = "protect"
	CacheUpstream = "upstream"
)

// Upstream is one server of the application.
type Upstream struct {
	URL *url.URL `key:"url"` // scheme and host only
}

// Timeouts bound what an upstream may take. 0: no bound.
type Timeouts struct {
	Connect        time.Duration `key:"connect"`
	ResponseHeader time.Duration `key:"response_header"`
	Idle           time.Duration `key:"idle"`
}

// StepUp asks for a recent sign-in.
type StepUp struct {
	MaxAge time.Duration `key:"max_age"`
}

// AccessToken is the token of Logto that the upstream gets.
type AccessToken struct {
	Resource     string `key:"resource"`
	Organization string `key:"organization"`
}

// Bearer is the audience of the tokens that API clients bring.
type Bearer struct {
	Audience string `key:"audience"`
}

// CORS is which pages of other origins may read the answers of a route.
type CORS struct {
	Origins     []string      `key:"origins"` // as browsers write them; "*": every one
	Methods     []string      `key:"methods"` // empty: all that the route takes
	Headers     []string      `key:"headers"` // empty: all
	Credentials bool          `key:"credentials"`
	MaxAge      time.Duration `key:"max_age"`
}

// Pages is the look of the pages that people see.
type Pages struct {
	Name         string   `key:"name"` // empty: the host
	LogoFile     string   `key:"logo_file"`
	LogoDarkFile string   `key:"logo_dark_file"`
	Accent       string   `key:"accent"`      // #rrggbb
	AccentDark   string   `key:"accent_dark"` // empty: derived from Accent
	Languages    []string `key:"languages"`   // the first is the fallback
	Support      Support  `key:"support"`
	HomeURL      string   `key:"home_url"` // empty: / of the host
	Texts        []Text   `key:"texts"`
}

// Support is whom people can ask. The zero value is nobody.
type Support struct {
	Name  string `key:"name"`
	Email string `key:"email"`
	URL   string `key:"url"`
	Phone string `key:"phone"`
}

// Text replaces one sentence of one page.
type Text struct {
	Page string `key:"page"`
	Part string `key:"part"` // heading, lead, primary, secondary
	Lang string `key:"lang"`
	Text string `key:"text"`
}

// Reload says what else is watched.
type Reload struct {
	Watch bool `key:"watch"`
}

// Shutdown is how the gateway leaves.
type Shutdown struct {
	Delay   time.Duration `key:"delay"`
	Timeout time.Duration `key:"timeout"`
}

// Log is what is written where.
type Log struct {
	Level     string `key:"level"`  // debug, info, warn, error
	Format    string `key:"format"` // text, json; empty: text on a terminal, else json
	Access    bool   `key:"access"`
	AuditFile string `key:"audit_file"` // empty: none
}

// Telemetry is where traces go.
type Telemetry struct {
	OTLPEndpoint string `key:"otlp_endpoint"`
}

// The settings that weaken protection, as `insecure` names them.
const (
	InsecurePlainHTTP       = "plain-http"
	InsecureTrustEverybody  = "trust-everybody"
	InsecurePublicRoot      = "public-root"
	InsecureUnverifiedEmail = "unverified-email"
)
