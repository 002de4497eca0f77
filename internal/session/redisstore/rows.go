package redisstore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"portero/internal/session"
)

// A row is one string, since a hash of ten fields would take twice the memory:
//
//	1          the format; a change that an older version would misread takes another
//	0 or 1     idled
//	16 digits  last used, in microseconds, as the next two: a touch writes them alone
//	16 digits  the end
//	16 digits  created
//	5 digits   how long all this is, up to the body
//	version, a space
//	key, subject, sid: as packed
//	the body
const (
	format  = "1"
	maxBody = 4 << 20
	maxName = 16 << 10
	maxHead = 64 << 10
)

// packed is a name in the form in which it lies in a row, which ends by itself: h and
// 32 bytes for what is base64url of so many, as hashes are, else length, colon, text.
func packed(name string) string {
	if len(name) == 43 {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(name)
		if err == nil && len(raw) == 32 {
			return "h" + string(raw)
		}
	}
	return strconv.Itoa(len(name)) + ":" + name
}

// unpack reads a name and returns what follows it.
func unpack(text string) (name, rest string, ok bool) {
	if raw, ok := strings.CutPrefix(text, "h"); ok {
		if len(raw) < 32 {
			return "", "", false
		}
		return base64.RawURLEncoding.EncodeToString([]byte(raw[:32])), raw[32:], true
	}
	length, rest, ok := strings.Cut(text, ":")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 0 || n > len(rest) {
		return "", "", false
	}
	return rest[:n], rest[n:], true
}

const digits = 16

var errTime = errors.New("a time is out of range")

// fixed is a time in its sixteen digits; zero is no time at all.
func fixed(t time.Time) (string, error) {
	micro := t.UnixMicro()
	switch {
	case t.IsZero():
		micro = 0
	case micro < 0 || micro >= 1e16:
		return "", errTime
	}
	return fmt.Sprintf("%0*d", digits, micro), nil
}

func parseFixed(text string) (time.Time, error) {
	t, err := parseMicros(text)
	if err == nil && t.UnixMicro() == 0 {
		t = time.Time{}
	}
	return t, err
}

func micros(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

func parseMicros(t string) (time.Time, error) {
	n, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return time.Time{}, errReply
	}
	return time.UnixMicro(n).UTC(), nil
}

// encode makes the value of a row.
func encode(row session.Row) ([]byte, error) {
	if len(row.Body) > maxBody {
		return nil, fmt.Errorf("the record has more than %d bytes", maxBody)
	}
	if max(len(row.Key), len(row.Subject), len(row.SID)) > maxName {
		return nil, fmt.Errorf("a name has more than %d bytes", maxName)
	}
	head := make([]byte, 0, 256)
	head = append(head, format...)
	if row.Idled {
		head = append(head, '1')
	} else {
		head = append(head, '0')
	}
	for _, t := range []time.Time{row.LastUsed, row.ExpiresAt, row.CreatedAt} {
		text, err := fixed(t)
		if err != nil {
			return nil, err
		}
		head = append(head, text...)
	}
	rest := strconv.FormatUint(row.Version, 10) + " " + packed(row.Key) + packed(row.Subject) + packed(row.SID)
	head = fmt.Appendf(head, "%05d", len(head)+5+len(rest))
	value := make([]byte, 0, len(head)+len(rest)+len(row.Body))
	return append(append(append(value, head...), rest...), row.Body...), nil
}

// state says what was under a key.
type state uint8

const (
	absent state = iota
	readable
	unreadable
)

// decode reads the reply of a script that returns a row, with or without its body.
func decode(reply []any) (session.Row, state) {
	if len(reply) == 1 && reply[0] == int64(0) {
		return session.Row{}, absent
	}
	if len(reply) != 2 || reply[0] != int64(1) {
		return session.Row{}, unreadable
	}
	row, ok := parseRow(text(reply[1]))
	if !ok {
		return session.Row{}, unreadable
	}
	return row, readable
}

func parseRow(value string) (row session.Row, ok bool) {
	const front = 2 + 3*digits + 5
	if len(value) < front || value[:1] != format || value[1] != '0' && value[1] != '1' {
		return row, false
	}
	row.Idled = value[1] == '1'
	at := 2
	for _, t := range []*time.Time{&row.LastUsed, &row.ExpiresAt, &row.CreatedAt} {
		var err error
		if *t, err = parseFixed(value[at : at+digits]); err != nil {
			return row, false
		}
		at += digits
	}
	head, err := strconv.Atoi(value[at:front])
	if err != nil || head < front || head > len(value) {
		return row, false
	}
	version, names, ok := strings.Cut(value[front:head], " ")
	if !ok {
		return row, false
	}
	if row.Version, err = strconv.ParseUint(version, 10, 64); err != nil {
		return row, false
	}
	for _, name := range []*string{&row.Key, &row.Subject, &row.SID} {
		if *name, names, ok = unpack(names); !ok {
			return row, false
		}
	}
	row.Body = []byte(value[head:])
	return row, names == ""
}
