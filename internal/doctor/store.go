package doctor

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"portero/internal/config"
	"portero/internal/session/redisstore"
)

// checkStore: sessions can be kept. The file of a gateway that runs is only opened, not read.
func checkStore(ctx context.Context, c *config.Config) Finding {
	switch s := c.Session; s.Store {
	case config.StoreFile:
		return checkFile(s.File.Path)
	case config.StoreRedis:
		return checkRedis(ctx, s.Redis)
	}
	return ok("sessions are in memory: everybody signs in again after a restart")
}

// checkFile: the session file, or where there is none yet its folder, can be written by who runs this.
func checkFile(path string) Finding {
	const expected = "a session file that can be written"
	const remedy = "run this as the gateway's user; let that user write there, or change session.file.path"
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return ok("%s can be written", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return failed(expected, path+" cannot be written", remedy)
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".portero-doctor-*")
	if err != nil {
		return failed(expected, "no file can be made in "+filepath.Dir(path), remedy)
	}
	probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return failed(expected, "a file that was made in "+filepath.Dir(path)+" cannot be removed", remedy)
	}
	return ok("%s is not there yet, and can be made", path)
}

// checkRedis: Redis takes a write, as the gateway's readiness has it.
func checkRedis(ctx context.Context, r config.Redis) Finding {
	const remedy = "correct session.redis, or look at that server: portero check prints where it is"
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	ca, err := r.TLS.ReadCA()
	if err != nil {
		return failed("certificates in session.redis.tls.ca_file", "they cannot be read", "correct session.redis.tls.ca_file")
	}
	store, err := redisstore.Dial(redisstore.Options{
		URL: r.URL.Reveal(), Addresses: r.Addresses, MasterName: r.MasterName, Cluster: r.Cluster, CA: ca, Prefix: r.KeyPrefix, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil { // config has looked at it; its text has no secret
		return failed("a Redis that can be asked", err.Error(), remedy)
	}
	defer store.Close()
	if err := store.Ping(ctx); err != nil {
		return failed("a Redis that takes writes", err.Error(), remedy)
	}
	return ok("Redis takes writes")
}
