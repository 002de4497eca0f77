package gateway

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"portero/internal/audit"
	"portero/internal/authflow"
	"portero/internal/config"
	"portero/internal/live"
	"portero/internal/serve"
	"portero/internal/session"
	"portero/internal/session/filestore"
	"portero/internal/session/memstore"
	"portero/internal/session/redisstore"
	"portero/internal/telemetry"
)

// Options are what a Gateway needs beside the configuration. The zero value is ready to use.
type Options struct {
	Log     *slog.Logger                   // nil: none
	Load    func() (*config.Config, error) // reads the configuration again for a reload; nil: reloads are refused
	Level   *slog.LevelVar                 // follows log.level at a reload; nil: it does not
	Version string                         // for metrics and the admin listener
	Demo    bool                           // every page says that this is a demonstration
	Now     func() time.Time               // nil: time.Now

	// Public and Admin are listeners that are bound already. nil: the configuration's addresses are bound.
	Public, Admin net.Listener
	// AdminToken is used where none is configured. "": one is made and written for the commands.
	AdminToken string
	// Store holds the sessions instead of the one that is configured, and is closed at the end. nil: the configured one
	// is opened.
	Store session.Store
}

// Gateway is one running Portero.
type Gateway struct {
	opts      Options
	log       *slog.Logger
	startedAt time.Time

	store     session.Store
	audit     *audit.Log
	metrics   *telemetry.Metrics
	live      *live.Registry
	closer    *closer
	mirror    mirror
	revoked   *session.Revocations
	refresher *authflow.Refresher
	revoker   *authflow.Revoker
	certs     *serve.Certificates // nil: plain HTTP

	madeSecret []byte // the session secret where none is configured
	adminToken string
	tokenFile  string // written by us, removed at the end; "" none

	reload   sync.Mutex
	watcher  serve.Watcher
	rewatch  chan struct{} // the list of watched files has changed
	unproven chan struct{} // nobody knows whether Logto takes the client secret
	current  atomic.Pointer[generation]
	serving  atomic.Bool
	draining atomic.Bool

	public, admin, scrape *serve.Server

	background sync.WaitGroup  // what goes on until the last request has been answered
	running    context.Context // ends with it
	stop       context.CancelFunc
}

// New opens the session store and builds the first generation. Nothing listens yet. Close ends it.
func New(cfg *config.Config, opts Options) (*Gateway, error) {
	g := &Gateway{
		opts: opts, log: opts.Log, live: live.New(), metrics: telemetry.NewMetrics(), refresher: authflow.NewRefresher(),
		rewatch: make(chan struct{}, 1), unproven: make(chan struct{}, 1),
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.closer = newCloser(g.live)
	g.running, g.stop = context.WithCancel(context.Background())
	g.startedAt = g.now()
	g.revoker = authflow.NewRevoker(g.log)
	if err := g.open(cfg); err != nil {
		g.Close()
		return nil, err
	}
	g.revoked = session.NewRevocations(session.RevocationsConfig{
		Store: g.store, Ended: g.closer.end, Missed: g.closer.miss, Now: g.opts.Now, Log: g.log,
	})
	gen, err := g.build(cfg, nil)
	if err != nil {
		g.Close()
		return nil, err
	}
	g.current.Store(gen)
	g.watcher.Learn(cfg.WatchedFiles())
	g.metrics.BuildInfo(opts.Version, "")
	g.metrics.Reloaded(true, g.now())
	g.metrics.LiveConnections(g.live.Len)
	g.metrics.Sessions(func() (int, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n, err := g.current.Load().sessions.Count(ctx)
		return n, err == nil
	})
	if g.certs != nil {
		g.metrics.CertificateNotAfter(g.certs.NotAfter)
	}
	return g, nil
}

// open opens what belongs to no generation.
func (g *Gateway) open(cfg *config.Config) error {
	var err error
	if g.audit, err = audit.New(audit.Config{File: cfg.Log.AuditFile, Logger: g.log, Now: g.opts.Now}); err != nil {
		return fmt.Errorf("log.audit_file: %w", err)
	}
	if cfg.TLS.Enabled() {
		if g.certs, err = serve.LoadCertificates(cfg.TLS.CertFile, cfg.TLS.KeyFile); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	if g.store = g.opts.Store; g.store == nil {
		if g.store, err = g.openStore(cfg); err != nil {
			return err
		}
	}
	if !cfg.Session.Secret.IsSet() {
		if g.madeSecret, err = madeSecret(cfg); err != nil {
			return fmt.Errorf("session.secret: %w", err)
		}
	}
	return nil
}

// openStore opens the configured session store. Redis is asked nothing: a gateway starts while it is away.
func (g *Gateway) openStore(cfg *config.Config) (session.Store, error) {
	switch s := cfg.Session; s.Store {
	case config.StoreMemory:
		return memstore.New(memstore.Config{Now: g.opts.Now}), nil
	case config.StoreFile:
		store, err := filestore.Open(filestore.Config{Path: s.File.Path, Now: g.opts.Now, Log: g.log})
		if err != nil {
			return nil, fmt.Errorf("session.file.path: %w", err)
		}
		return store, nil
	case config.StoreRedis:
		ca, err := s.Redis.TLS.ReadCA()
		if err != nil {
			return nil, err
		}
		store, err := redisstore.Dial(redisstore.Options{
			URL: s.Redis.URL.Reveal(), Addresses: s.Redis.Addresses, MasterName: s.Redis.MasterName, Cluster: s.Redis.Cluster,
			CA: ca, Prefix: s.Redis.KeyPrefix, Log: g.log,
		})
		if err != nil {
			return nil, err
		}
		return store, nil
	}
	return nil, fmt.Errorf("session.store: %q is not available", cfg.Session.Store)
}

// madeSecret makes a session secret where none is configured: one per start for sessions in memory, one beside the
// session file (0600) for sessions that outlive the process. What several processes share has no secret of one of them.
func madeSecret(cfg *config.Config) ([]byte, error) {
	if cfg.Session.Store == config.StoreRedis {
		return nil, errors.New("is missing, and all processes that share the Redis need the same one; run portero secret")
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	if cfg.Session.Store == config.StoreMemory {
		return secret, nil
	}
	path := cfg.Session.File.Path + ".secret"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		kept, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if len(kept) != len(secret) {
			return nil, fmt.Errorf("%s does not hold a secret of %d bytes; remove it (everybody signs in again) or set session.secret", path, len(secret))
		}
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(secret); err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return secret, f.Close()
}

func (g *Gateway) now() time.Time {
	if g.opts.Now != nil {
		return g.opts.Now()
	}
	return time.Now()
}

func (g *Gateway) config() *config.Config { return g.current.Load().config }

// Handler is the public listener's handler. A request is recorded and answered by one generation.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.current.Load().recorded.ServeHTTP(w, r)
	})
}

// Listen binds the listeners of the configuration.
func (g *Gateway) Listen() error {
	cfg := g.config()
	var err error
	if g.public, err = serve.Listen(serve.Config{Name: "public", Addr: cfg.Listen, Listener: g.opts.Public, Handler: g.Handler(), TLS: g.certs, Log: g.log}); err != nil {
		return err
	}
	if cfg.Admin.Listen != "" {
		g.admin, err = serve.Listen(serve.Config{Name: "admin", Addr: cfg.Admin.Listen, Listener: g.opts.Admin, Handler: g.adminHandler(), Log: g.log})
		if err != nil {
			return err
		}
		g.prepareToken(cfg)
	}
	if cfg.Admin.MetricsListen != "" {
		g.scrape, err = serve.Listen(serve.Config{Name: "metrics", Addr: cfg.Admin.MetricsListen, Handler: g.metricsHandler(), Log: g.log})
		if err != nil {
			return err
		}
	}
	return nil
}

// prepareToken takes the configured admin token, or makes one and leaves it where the commands find it.
func (g *Gateway) prepareToken(cfg *config.Config) {
	if cfg.Admin.Token.IsSet() {
		g.adminToken = cfg.Admin.Token.Reveal()
		return
	}
	if g.opts.AdminToken != "" {
		g.adminToken = g.opts.AdminToken
		return
	}
	path := TokenFile(tokenDir(cfg), g.admin.Addr().(*net.TCPAddr).Port)
	token, err := makeToken(path)
	if err != nil {
		g.log.Warn("the admin token could not be written: the admin API stays closed; set admin.token_file", "error", err)
		return
	}
	g.adminToken, g.tokenFile = token, path
}

// tokenDir is the folder of the session file, else of the configuration file, else the present one.
func tokenDir(cfg *config.Config) string {
	switch {
	case cfg.Session.Store == config.StoreFile:
		return filepath.Dir(cfg.Session.File.Path)
	case cfg.File != "":
		return filepath.Dir(cfg.File)
	}
	return "."
}

// Addr is the address of the public listener, AdminAddr that of the admin listener; nil without one.
func (g *Gateway) Addr() net.Addr { return addrOf(g.public) }

// AdminAddr is the address of the admin listener; nil without one.
func (g *Gateway) AdminAddr() net.Addr { return addrOf(g.admin) }

// MetricsAddr is the address of the metrics listener; nil without one.
func (g *Gateway) MetricsAddr() net.Addr { return addrOf(g.scrape) }

// AdminToken is the token of the admin listener, "" when it is closed.
func (g *Gateway) AdminToken() string { return g.adminToken }

func addrOf(s *serve.Server) net.Addr {
	if s == nil {
		return nil
	}
	return s.Addr()
}

// Run serves until ctx ends, then shuts down: readiness turns first, after shutdown.delay no new request is taken and
// WebSockets and event streams end, and after shutdown.timeout at the latest everything does. Listen has been called before.
func (g *Gateway) Run(ctx context.Context) error {
	servers := g.servers()
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- s.Serve() }()
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(watching)
	}()
	g.background.Go(func() { g.revoked.Run(g.running) })
	g.background.Go(func() { g.attend(g.running) })
	g.background.Go(func() { g.proveSecrets(g.running) })
	g.warmUp(ctx)
	g.serving.Store(true)
	if err := serve.Notify("READY=1"); err != nil {
		g.log.Warn("telling the service manager", "error", err)
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	stop()
	<-watched
	return errors.Join(err, g.shutdown())
}

func (g *Gateway) servers() []*serve.Server {
	var out []*serve.Server
	for _, s := range []*serve.Server{g.public, g.admin, g.scrape} {
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// warmUp asks for Logto's metadata beside everything else: a gateway starts while Logto is away.
func (g *Gateway) warmUp(ctx context.Context) {
	p := g.current.Load().flow.Provider
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := p.Discover(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("Logto does not answer: people who are signed in go on working, signing in will be possible once it does", "error", err)
		}
	}()
}

func (g *Gateway) shutdown() error {
	cfg := g.config()
	g.draining.Store(true)
	if err := serve.Notify("STOPPING=1"); err != nil {
		g.log.Warn("telling the service manager", "error", err)
	}
	if cfg.Shutdown.Delay > 0 {
		g.log.Info("draining: readiness is off, requests are still taken", "delay", cfg.Shutdown.Delay)
		time.Sleep(cfg.Shutdown.Delay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.Shutdown.Timeout)
	defer cancel()
	// The time belongs to requests that end by themselves. WebSockets and event streams do not, and their clients are
	// better off at another process at once.
	g.live.CloseEndless()
	var wait sync.WaitGroup
	errs := make([]error, len(g.servers()))
	for i, s := range g.servers() {
		wait.Go(func() {
			err := s.Shutdown(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				g.log.Warn("shutdown.timeout is over: requests that have not ended are cut off", "listener", s.Addr().String())
				err = s.Close()
			}
			errs[i] = err
		})
	}
	wait.Wait()
	g.live.CloseAll()
	select {
	case <-g.live.Drained(): // close frames have been sent
	case <-ctx.Done():
	}
	return errors.Join(errors.Join(errs...), g.close(ctx))
}

// Close ends a Gateway that is not run.
func (g *Gateway) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var errs []error
	for _, s := range g.servers() {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, g.close(ctx))...)
}

// close ends everything but the listeners. Refreshes and revocations under way have time until ctx ends.
func (g *Gateway) close(ctx context.Context) error {
	if g.tokenFile != "" {
		os.Remove(g.tokenFile)
	}
	g.refresher.Close(ctx)
	g.revoker.Close(ctx)
	g.stop()
	g.background.Wait()
	if gen := g.current.Load(); gen != nil {
		gen.close()
		gen.flow.Provider.Close()
	}
	return g.closeParts()
}

// closeParts closes what open opened.
func (g *Gateway) closeParts() error {
	var errs []error
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	if g.audit != nil {
		errs = append(errs, g.audit.Close())
	}
	return errors.Join(errs...)
}
