package catalogue_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"portero/internal/gatewaytest"
)

// What stands in the store when a session is read: rows that were written by somebody else.

// notASession fails unless a session whose row was spoiled is none, on every route and every time, the browser is told
// to drop its cookie, and its next sign-in works. The log is to have a line.
func (p *traveller) notASession(t *testing.T, line string) {
	t.Helper()
	from := len(p.Log.String())
	for range 3 {
		p.Upstream.Forget()
		for _, lines := range [][][2]string{nil, navigation} {
			browser := p.twin()
			a := browser.send(t, request{Lines: lines})
			p.denied(t, a)
			if browser.session() != "" || !strings.Contains(strings.Join(a.Header.Values("Set-Cookie"), "\n"), p.Cookie()+"=;") {
				t.Errorf("got the cookies %q, want the session's deleted", a.Header.Values("Set-Cookie"))
			}
		}
	}
	for _, target := range []string{"/public/x", "/optional/x"} {
		if a := p.twin().send(t, request{Target: target}); a.Status != http.StatusOK {
			t.Errorf("%s: got %s, want 200", target, a)
		}
		head, _ := p.reached(t)
		saysNobody(t, head)
	}
	if got := p.Log.String()[from:]; !strings.Contains(got, line) {
		t.Errorf("the log does not say %q", line)
	}
	browser := p.twin()
	seeOther(t, browser.get(t, browser.leave(t, "/app")), "/app")
	if !browser.in(t) {
		t.Error("signing in again: it is not good")
	}
}

const (
	saysDamaged    = "a row in Redis is damaged"
	saysUnreadable = "session record is unreadable"
)

// spoil is a row of Redis that somebody else has written.
type spoil struct {
	name string
	do   func(t *testing.T, x *nodes, row string)
	line string // of the log
}

// bodyOf is where the sealed body of a row of Redis begins.
func bodyOf(t *testing.T, x *nodes, row string) int {
	t.Helper()
	var at int
	if _, err := fmt.Sscanf(x.redis.Do("GETRANGE", row, 50, 54).(string), "%d", &at); err != nil {
		t.Fatal(err)
	}
	return at
}

// otherBody writes another body into a row, whose beginning is good.
func otherBody(text string) func(*testing.T, *nodes, string) {
	return func(t *testing.T, x *nodes, row string) {
		head := x.redis.Do("GETRANGE", row, 0, bodyOf(t, x, row)-1).(string)
		x.redis.Do("SET", row, head+text)
	}
}

// otherKey replaces a row by a key of another type.
func otherKey(command ...any) func(*testing.T, *nodes, string) {
	return func(t *testing.T, x *nodes, row string) {
		x.redis.Do("DEL", row)
		x.redis.Do(append([]any{command[0], row}, command[1:]...)...)
	}
}

func randomBytes(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

// spoils are the rows of SE-04 and SR-04.
var spoils = []spoil{
	{"empty", otherKey("SET", ""), saysDamaged},
	{"cut in its head", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SET", row, x.redis.Do("GETRANGE", row, 0, 99)) }, saysDamaged},
	{"cut where the body begins", otherBody(""), saysUnreadable},
	{"cut in its body", func(_ *testing.T, x *nodes, row string) {
		x.redis.Do("SET", row, x.redis.Do("GETRANGE", row, 0, x.redis.Do("STRLEN", row).(int64)-2))
	}, saysUnreadable},
	{"one bit of the body", func(t *testing.T, x *nodes, row string) {
		at := bodyOf(t, x, row) + 40
		b := x.redis.Do("GETRANGE", row, at, at).(string)
		x.redis.Do("SETRANGE", row, at, string([]byte{b[0] ^ 1}))
	}, saysUnreadable},
	{"a longer body", func(_ *testing.T, x *nodes, row string) { x.redis.Do("APPEND", row, "garbage") }, saysUnreadable},
	{"another version", otherKey("SET", "9"+strings.Repeat("0", 300)), saysDamaged},
	{"the version of the record raised", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 55, "2") }, saysUnreadable},
	{"random bytes", otherKey("SET", randomBytes(500)), saysDamaged},
	{"random bytes as the body", otherBody(randomBytes(500)), saysUnreadable},
	{"zeros as the body", otherBody(strings.Repeat("\x00", 500)), saysUnreadable},
	{"JSON", otherKey("SET", `{"v":1,"sub":"root","email":"root@corp","created":1,"expires":9999999999999999}`), saysDamaged},
	{"JSON as the body", otherBody(`{"v":1,"sub":"root","email":"root@corp","created":1,"expires":9999999999999999}`), saysUnreadable},
	{"text", otherKey("SET", "garbage \x00\xff %n%s"), saysDamaged},
	{"times that are none", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 4, "soon") }, saysDamaged},
	{"a head that is longer than the row", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 50, "99999") }, saysDamaged},
	{"a list", otherKey("RPUSH", "garbage"), saysDamaged},
	{"a hash", otherKey("HSET", "1", "2"), saysDamaged},
	{"a set", otherKey("SADD", "1"), saysDamaged},
	{"a stream", otherKey("XADD", "*", "1", "2"), saysDamaged},
}

func unreadableSession(t *testing.T, d *doors) {
	x := d.Nodes()
	for i, s := range spoils {
		t.Run(s.name+" in Redis", func(t *testing.T) {
			p, row := x.arrive(t, newAlice())
			s.do(t, x, row)
			p.on(x.all[1]).over(i%2 == 1).notASession(t, s.line)
		})
	}
	unreadableInFile(t)
}

// unreadableInFile tries it with the store in a file, whose rows are changed while nobody has it open.
func unreadableInFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions.db")
	f := unsigned(t, gatewaytest.Options{Session: fmt.Sprintf("store: file, secret: %s, file: {path: %q}", gatewaytest.SessionSecret, path)})
	type person struct {
		name string
		*traveller
	}
	var people []*person
	bodies := map[string]string{
		"cut": "", "random bytes": randomBytes(500), "JSON": `{"v":1,"sub":"root"}`, "zeros": strings.Repeat("\x00", 500), "deeply nested": strings.Repeat("[", 100_000),
	}
	const torn = "cut in its head"
	for _, name := range []string{"cut", "random bytes", "JSON", "zeros", "deeply nested", torn, "good"} {
		people = append(people, &person{name: name, traveller: f.arrive(t, newAlice())})
	}
	f.Stop(t)
	editRows(t, path, func(rows *bolt.Bucket) error {
		for _, p := range people {
			key := []byte(keyOf(p.session()))
			value := slices.Clone(rows.Get(key))
			if value == nil {
				return fmt.Errorf("%s: no row under the hash of the cookie", p.name)
			}
			body, ok := bodies[p.name]
			switch {
			case p.name == torn:
				value = value[:20]
			case ok:
				value = append(value[:fileBody(value)], body...)
			}
			if err := rows.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	f.Restart(t)
	for _, p := range people {
		t.Run(p.name+" in a file", func(t *testing.T) {
			switch p.name {
			case "good":
				if !p.in(t) {
					t.Error("the row that was left alone is no session")
				}
			case torn: // what is damaged there may have been a mark that ends sessions: nobody is told that it is absent
				f.Upstream.Forget()
				for range 3 {
					a := p.twin().send(t, request{Lines: navigation})
					if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
						t.Errorf("got %s, Retry-After %q, want 503 and one", a, a.Header.Get("Retry-After"))
					}
					f.noSession(t, a)
				}
				f.nothingReached(t)
				if !strings.Contains(f.Log.String(), "the file is damaged") {
					t.Error("the log does not say that the file is damaged")
				}
			default:
				p.notASession(t, saysUnreadable)
			}
		})
	}
}

// editRows opens a store in a file that nobody else has open, and changes its rows.
func editRows(t *testing.T, path string, change func(rows *bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket([]byte("rows"))) }); err != nil {
		t.Fatal(err)
	}
}

// fileBody is where the sealed body of a row of a file begins: behind 26 bytes, the subject and the sid.
func fileBody(row []byte) int {
	at := 26
	for range 2 {
		n, size := binary.Uvarint(row[at:])
		at += size + int(n)
	}
	return at
}

func hostileContent(t *testing.T, d *doors) {
	x := d.Nodes()
	const huge = 64 << 20
	for _, s := range []spoil{
		{"64 MiB", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, huge-1, "x") }, saysDamaged},
		{"10 MB of text", otherKey("SET", strings.Repeat("a", 10_000_000)), saysDamaged},
		{"4 MB as the body", otherBody(strings.Repeat("a", 4_000_000)), saysUnreadable},
		{"deeply nested JSON", otherBody(strings.Repeat("[", 1_000_000)), saysUnreadable},
		{"deeply nested objects", otherBody(strings.Repeat(`{"a":`, 200_000)), saysUnreadable},
		{"gob", otherBody("\x0c\xff\x81\x02\x01\x02\xff\x82\x00\x01\x10\x00\x00" + strings.Repeat("\xff\x82", 1000)), saysUnreadable},
		{"a future version", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 0, "2") }, saysDamaged},
		{"no version at all", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 55, "x") }, saysDamaged},
		{"times beyond all time", func(_ *testing.T, x *nodes, row string) { x.redis.Do("SETRANGE", row, 2, strings.Repeat("9", 48)) }, ""},
		{"a name of 99,999 bytes", func(t *testing.T, x *nodes, row string) {
			head := x.redis.Do("GETRANGE", row, 0, 54).(string)
			x.redis.Do("SET", row, head[:50]+"099991 99999:"+strings.Repeat("k", 100_000))
		}, saysDamaged},
		{"a sorted set of 100,000", func(t *testing.T, x *nodes, row string) {
			members := []any{"ZADD", row}
			for i := range 100_000 {
				members = append(members, i, i)
			}
			x.redis.Do("DEL", row)
			x.redis.Do(members...)
		}, saysDamaged},
	} {
		t.Run(s.name, func(t *testing.T) {
			p, row := x.arrive(t, newAlice())
			p = p.on(x.all[1])
			s.do(t, x, row)
			if s.line == "" { // its times lie beside what is sealed, and nobody believes them
				if !p.in(t) {
					t.Error("it is no session, although what is sealed says so")
				}
				return
			}
			before, sent := residentKB(t, p.Process.PID()), x.sent(t)
			p.notASession(t, s.line)
			if grown := residentKB(t, p.Process.PID()) - before; grown > 100<<10 {
				t.Errorf("the program grew by %d KiB, want 100 MiB at most", grown)
			}
			// What has no size of ours is not even fetched: nine requests met it.
			if got := x.sent(t) - sent; s.line == saysDamaged && got > 2<<20 {
				t.Errorf("Redis has sent %d bytes, want little", got)
			}
			x.redis.Do("DEL", row)
		})
	}
}

// keyOf is what the store knows a session by: the hash of its token.
func keyOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sent is how many bytes Redis has sent.
func (x *nodes) sent(t *testing.T) (n int) {
	t.Helper()
	stats, err := x.redis.Client.Info(context.Background(), "stats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(stats, "total_net_output_bytes:")
	fmt.Sscanf(after, "%d", &n)
	return n
}

func anothersRow(t *testing.T, d *doors) {
	x := d.Nodes()
	for _, s := range []struct {
		name string
		lay  func(t *testing.T, alices, bobs string)
		line string
	}{
		{"the whole row", func(_ *testing.T, a, b string) { x.redis.Do("SET", a, x.redis.Do("GET", b)) }, saysDamaged},
		{"renamed", func(_ *testing.T, a, b string) { x.redis.Do("RENAME", b, a) }, saysDamaged},
		{"the body", func(t *testing.T, a, b string) {
			otherBody(x.redis.Do("GETRANGE", b, bodyOf(t, x, b), -1).(string))(t, x, a)
		}, saysUnreadable},
		{"half of the body", func(t *testing.T, a, b string) {
			x.redis.Do("SETRANGE", a, bodyOf(t, x, a)+100, x.redis.Do("GETRANGE", b, bodyOf(t, x, b)+100, -1))
		}, saysUnreadable},
		{"the head", func(t *testing.T, a, b string) {
			body := x.redis.Do("GETRANGE", a, bodyOf(t, x, a), -1).(string)
			x.redis.Do("SET", a, x.redis.Do("GETRANGE", b, 0, bodyOf(t, x, b)-1).(string)+body)
		}, saysDamaged},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP 2 %t", s.name, h2), func(t *testing.T) {
				p, alices := x.arrive(t, newAlice())
				_, bobs := x.arrive(t, bob)
				s.lay(t, alices, bobs)
				p.on(x.all[1]).over(h2).notASession(t, s.line)
			})
		}
	}
	// Answers that come so late that nobody waits for them are nobody's: each is told of their own person or of none.
	t.Run("late answers", func(t *testing.T) {
		f := x.all[1]
		for range 3 {
			a, _ := x.arrive(t, newAlice())
			b, _ := x.arrive(t, bob)
			x.links[1].Delay(400 * time.Millisecond) // both ways: longer than a call may take
			for range 2 {
				for _, p := range []*traveller{a, b} {
					f.Upstream.Forget()
					if got := p.on(f).twin().send(t, request{}); got.Status != http.StatusServiceUnavailable {
						t.Errorf("got %s, want 503", got)
					}
					f.nothingReached(t)
				}
			}
			x.links[1].Heal()
			x.ready(t)
			for _, who := range []struct {
				p   *traveller
				sub string
			}{{b, "bob000000000"}, {a, "t8x4l8ohti1t"}, {b, "bob000000000"}} {
				f.Upstream.Forget()
				if got := who.p.on(f).twin().send(t, request{}); got.Status != http.StatusOK {
					t.Fatalf("with the store back: got %s, want 200", got)
				}
				head, _ := f.reached(t)
				exactly(t, head, "X-Auth-Sub", who.sub)
			}
		}
	})
}

func hostileIDs(t *testing.T, d *doors) {
	x := d.Nodes()
	p, row := x.arrive(t, newAlice())
	for _, f := range x.all {
		p.on(f).in(t)
	}
	real := p.session()
	ids := []string{
		"", "%n%s%s%s%n", "../../x", "..%2f..%2fx", "*", "?", "[a-z]", "portero:row:*", strings.TrimPrefix(row, "portero:row:"), row, keyOf(real),
		`\r\nFLUSHALL\r\n`, "%0d%0aFLUSHALL%0d%0a", "FLUSHALL", strings.Repeat("a", 8<<10), "ñandú", "\xff\xfe", real[:42], real + "A", real[:42] + "+", real[:42] + "=",
		real[:42] + " ", "x\ty", `"` + real + `"`, "'" + real + "'", real + "%00", "{" + real + "}", "0", "-1", "null", "undefined", "[object Object]",
	}
	broken := []string{real + "\x00", "\x00", real + "\r\nFLUSHALL\r\n", "x\r\n\r\nFLUSHALL\r\n", "x\x7f", "x\x01"} // no header may hold them
	size := x.redis.Do("DBSIZE")
	for _, f := range x.all[:1] {
		for _, h2 := range []bool{false, true} {
			asked := x.calls(t, "strlen")
			for _, id := range append(slices.Clone(ids), broken...) {
				f.Upstream.Forget()
				a := way{front: f, h2: h2}.ask(t, request{Lines: fieldsOf("Cookie", f.Cookie()+"="+id)})
				switch {
				case a.Status == http.StatusUnauthorized:
				case slices.Contains(broken, id) && (a.Status == http.StatusBadRequest || h2 && a.Status == 0):
				default:
					t.Errorf("%.30q, HTTP 2 %t: got %s, want 401", id, h2, a)
				}
				f.nothingReached(t)
				f.noSession(t, a)
			}
			if got := x.calls(t, "strlen") - asked; got != 0 {
				t.Errorf("HTTP 2 %t: the store was asked %d times, want never", h2, got)
			}
		}
	}
	if got := x.redis.Do("DBSIZE"); got != size {
		t.Errorf("keys in Redis: got %v, want %v", got, size)
	}
	if !p.in(t) {
		t.Error("the real session has ended")
	}
	// In the form of a real one: the store is asked for a hash of it. Neither id nor token stands anywhere.
	unknown := strings.Repeat("A", 43)
	asked := x.calls(t, "strlen") + x.calls(t, "type")
	if q := (way{front: x.all[0], cookie: x.all[0].Cookie() + "=" + unknown}); q.ask(t, request{}).Status != http.StatusUnauthorized {
		t.Error("an unknown id: it is good")
	}
	if got := x.calls(t, "strlen") + x.calls(t, "type") - asked; got == 0 {
		t.Error("the store was not asked for an unknown id: what is counted is not what asks")
	}
	secret := x.all[0].Issuer.Secrets()
	secret[real], secret[unknown] = "session token", "unknown id"
	for _, key := range x.keys(t, "*") {
		command := "DUMP"
		if x.redis.Do("TYPE", key) == "string" {
			command = "GET"
		}
		value, _ := x.redis.Do(command, key).(string)
		for text, what := range secret {
			if text != "" && (strings.Contains(key, text) || strings.Contains(value, text)) {
				t.Errorf("%s has the %s", key, what)
			}
		}
	}
}
