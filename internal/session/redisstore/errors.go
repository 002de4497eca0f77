package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"portero/internal/session"
)

var (
	errReply  = errors.New("the answer is not one to what was asked")
	errMarker = errors.New("the marker cannot be read")
	errLost   = errors.New("the server cannot be asked")
)

// refusal is the class of a server's error.
type refusal string

func (r refusal) Error() string { return "the server refuses: " + string(r) }

// plain makes an error that has nothing of what was asked or answered: of a server's
// refusal its class alone, since the rest may quote arguments.
func (s *Store) plain(ctx context.Context, err error) error {
	if s.closed.Load() && errors.Is(err, redis.ErrClosed) {
		return session.ErrClosed
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded, session.ErrClosed, errReply} {
		if errors.Is(err, known) {
			return known
		}
	}
	if errors.Is(err, redis.Nil) { // what the sentinels say of a name that they do not know
		return fmt.Errorf("%w: no master of that name", errLost)
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		return refusal(class(answer.Error()))
	}
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) {
		return fmt.Errorf("%w: no connection is free", errLost)
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return fmt.Errorf("%w: its certificate is not trusted", errLost)
	}
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) {
		return fmt.Errorf("%w: it does not speak TLS", errLost)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: no answer in time", errLost)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it has hung up", errLost)
	}
	var network *net.OpError
	if errors.As(err, &network) {
		return fmt.Errorf("%w: %w", errLost, network)
	}
	return errLost
}

// class is the upper-case word by which a server's error begins.
func class(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) == 0 || len(word) > 16 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "for another reason"
	}
	return word
}
