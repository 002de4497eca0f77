package filestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"portero/internal/session"
)

// The buckets. Times are microseconds since 1970 as eight bytes, big endian, with
// the sign bit flipped, so that they sort.
var (
	bucketMeta     = []byte("meta")     // "format" → one byte
	bucketRows     = []byte("rows")     // :: key → row without LastUsed
	bucketUsed     = []byte("used")     // :: key → LastUsed, apart so that a touch rewrites no body
	bucketSubjects = []byte("subjects") // :: length, subject hash, key → nothing
	bucketSIDs     = []byte("sids")     // :: length, sid hash, key → nothing
	bucketConsumed = []byte("consumed") // :: ".", mark → when, until when
	bucketMarkers  = []byte("markers")  // :: ".", kind, by → when, until when
	bucketExpiry   = []byte("expiry")   // :: time, first letter of bucket, key there → nothing; may name what was kept longer since
)

// dated is a point in time that is kept until another.
type dated struct{ at, until time.Time }

func prepare(tx *bolt.Tx) error {
	for _, name := range [][]byte{
		bucketMeta, bucketRows, bucketUsed, bucketSubjects, bucketSIDs, bucketConsumed, bucketMarkers, bucketExpiry,
	} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	switch have := meta.Get([]byte("format")); {
	case have == nil:
		return meta.Put([]byte("format"), []byte{format})
	case !bytes.Equal(have, []byte{format}):
		return fmt.Errorf("the file has format %d, this version reads format %d; move it away to start with an empty one", have, format)
	}
	return nil
}

// storable reports whether bbolt takes the row's keys.
func storable(row session.Row) bool {
	longest := max(len(row.Subject), len(row.SID), 8+1) + 4 + len(row.Key)
	return row.Key != "" && longest <= bolt.MaxKeySize
}

// get returns the row under key unless it has expired.
func get(tx *bolt.Tx, key string, now time.Time) (session.Row, bool) {
	value := tx.Bucket(bucketRows).Get([]byte(key))
	if value == nil || !now.Before(expiryOf(value)) {
		return session.Row{}, false
	}
	row, err := decodeRow(value)
	if err != nil {
		panic(err) // the callers' transaction makes it an error: damaged is not absent
	}
	row.Key = key
	row.LastUsed = decodeTime(tx.Bucket(bucketUsed).Get([]byte(key)))
	return row, true
}

// exists is get without decoding.
func exists(tx *bolt.Tx, key string, now time.Time) bool {
	value := tx.Bucket(bucketRows).Get([]byte(key))
	return value != nil && now.Before(expiryOf(value))
}

// put stores the row in place of the one under its key.
func put(tx *bolt.Tx, row session.Row) error {
	if err := drop(tx, row.Key); err != nil {
		return err
	}
	key := []byte(row.Key)
	return errors.Join(
		tx.Bucket(bucketRows).Put(key, encodeRow(row)),
		tx.Bucket(bucketUsed).Put(key, encodeTime(row.LastUsed)),
		putIndex(tx, bucketSubjects, row.Subject, row.Key),
		putIndex(tx, bucketSIDs, row.SID, row.Key),
		tx.Bucket(bucketExpiry).Put(expiryKey(row.ExpiresAt, bucketRows, key), nil),
	)
}

func touch(tx *bolt.Tx, key string, lastUsed time.Time) error {
	used := tx.Bucket(bucketUsed)
	later := encodeTime(lastUsed)
	if bytes.Compare(later, used.Get([]byte(key))) <= 0 {
		return nil
	}
	return used.Put([]byte(key), later)
}

// drop removes the row under key, expired or not, and all that lists it.
func drop(tx *bolt.Tx, name string) error {
	key := []byte(name)
	value := tx.Bucket(bucketRows).Get(key)
	if value == nil {
		return nil
	}
	row, err := decodeRow(value)
	if err != nil {
		return err
	}
	return errors.Join(
		tx.Bucket(bucketExpiry).Delete(expiryKey(row.ExpiresAt, bucketRows, key)),
		tx.Bucket(bucketSubjects).Delete(indexKey(row.Subject, name)),
		tx.Bucket(bucketSIDs).Delete(indexKey(row.SID, name)),
		tx.Bucket(bucketUsed).Delete(key),
		tx.Bucket(bucketRows).Delete(key),
	)
}

func putIndex(tx *bolt.Tx, bucket []byte, by, key string) error {
	if by == "" {
		return nil
	}
	return tx.Bucket(bucket).Put(indexKey(by, key), nil)
}

func list(tx *bolt.Tx, f session.Filter, after string, limit int, now time.Time) (rows []session.Row, next string) {
	bucket, by := bucketUsed, "" // the smallest that has all keys
	switch {
	case f.Subject != "":
		bucket, by = bucketSubjects, f.Subject
	case f.SID != "":
		bucket, by = bucketSIDs, f.SID
	}
	var prefix []byte
	if by != "" {
		prefix = indexKey(by, "")
	}
	start := append(slices.Clone(prefix), after...)
	c := tx.Bucket(bucket).Cursor()
	for k, _ := c.Seek(start); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		key := string(k[len(prefix):])
		if key <= after {
			continue
		}
		if len(rows) == limit {
			return rows, rows[limit-1].Key
		}
		row, found := get(tx, key, now)
		if !found {
			continue
		}
		if f.NoBody {
			row.Body = nil
		}
		rows = append(rows, row)
	}
	return rows, ""
}

func getDated(bucket *bolt.Bucket, name string, now time.Time) (dated, bool) {
	value := bucket.Get(datedKey(name))
	if value == nil {
		return dated{}, false
	}
	if len(value) != 16 {
		panic("a mark has the wrong size")
	}
	d := dated{decodeTime(value[:8]), decodeTime(value[8:])}
	return d, now.Before(d.until)
}

func putDated(tx *bolt.Tx, bucket []byte, name string, d dated) error {
	key := datedKey(name)
	return errors.Join(
		tx.Bucket(bucket).Put(key, append(encodeTime(d.at), encodeTime(d.until)...)),
		tx.Bucket(bucketExpiry).Put(expiryKey(d.until, bucket, key), nil),
	)
}

// expire removes up to limit things that have expired and says whether to go on.
func expire(tx *bolt.Tx, now time.Time, limit int) (more bool, err error) {
	end := encodeTime(now.Add(time.Microsecond)) // what ends now has expired
	var due [][]byte
	c := tx.Bucket(bucketExpiry).Cursor()
	for k, _ := c.First(); k != nil && bytes.Compare(k[:8], end) < 0; k, _ = c.Next() {
		if len(due) == limit {
			more = true
			break
		}
		due = append(due, bytes.Clone(k)) // deleting moves what k points to
	}
	for _, k := range due {
		if err := tx.Bucket(bucketExpiry).Delete(k); err != nil {
			return false, err
		}
		name := k[9:]
		switch k[8] {
		case bucketRows[0]:
			if !exists(tx, string(name), now) {
				err = drop(tx, string(name))
			}
		case bucketConsumed[0]:
			err = dropDated(tx, bucketConsumed, name, now)
		case bucketMarkers[0]:
			err = dropDated(tx, bucketMarkers, name, now)
		}
		if err != nil {
			return false, err
		}
	}
	return more, nil
}

// dropDated removes a mark unless it was set again with a later end, which has an
// entry of its own.
func dropDated(tx *bolt.Tx, bucket, key []byte, now time.Time) error {
	value := tx.Bucket(bucket).Get(key)
	if value == nil || now.Before(decodeTime(value[8:])) {
		return nil
	}
	return tx.Bucket(bucket).Delete(key)
}

func datedKey(name string) []byte { return append([]byte{'.'}, name...) } // bbolt takes no empty key

func markerKey(m session.Marker) string { return string([]byte{byte(m.Kind)}) + m.By }

func indexKey(by, key string) []byte {
	k := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(by)+len(key)), uint32(len(by)))
	return append(append(k, by...), key...)
}

func expiryKey(at time.Time, bucket, key []byte) []byte {
	return append(append(encodeTime(at), bucket[0]), key...)
}

const signBit = 1 << 63

func encodeTime(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(t.UnixMicro())^signBit)
}

func decodeTime(b []byte) time.Time {
	if len(b) < 8 {
		panic("a time is missing")
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b) ^ signBit)).UTC()
}

// A row: format, flags, version, created, expires, subject, sid, body; strings with
// their length in front.
const (
	rowHeader = 1 + 1 + 8 + 8 + 8
	flagIdled = 1
)

func encodeRow(row session.Row) []byte {
	b := make([]byte, 0, rowHeader+2*binary.MaxVarintLen32+len(row.Subject)+len(row.SID)+len(row.Body))
	flags := byte(0)
	if row.Idled {
		flags |= flagIdled
	}
	b = append(b, format, flags)
	b = binary.BigEndian.AppendUint64(b, row.Version)
	b = append(b, encodeTime(row.CreatedAt)...)
	b = append(b, encodeTime(row.ExpiresAt)...)
	for _, s := range []string{row.Subject, row.SID} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return append(b, row.Body...)
}

// expiryOf reads the end of an encoded row. A row too short to have one has ended
// never, so that decoding it reports the damage.
func expiryOf(b []byte) time.Time {
	if len(b) < rowHeader {
		return time.UnixMicro(1<<62 - 1)
	}
	return decodeTime(b[18:26])
}

var errRow = errors.New("a row is damaged")

// decodeRow reads what encodeRow wrote, without the key and LastUsed. It keeps no
// reference to b, which belongs to a transaction.
func decodeRow(b []byte) (session.Row, error) {
	if len(b) < rowHeader || b[0] != format {
		return session.Row{}, errRow
	}
	row := session.Row{
		Idled:     b[1]&flagIdled != 0,
		Version:   binary.BigEndian.Uint64(b[2:]),
		CreatedAt: decodeTime(b[10:]),
		ExpiresAt: decodeTime(b[18:]),
	}
	b = b[rowHeader:]
	for _, to := range []*string{&row.Subject, &row.SID} {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > uint64(len(b)-size) {
			return session.Row{}, errRow
		}
		*to = string(b[size : size+int(n)])
		b = b[size+int(n):]
	}
	row.Body = bytes.Clone(b)
	return row, nil
}
