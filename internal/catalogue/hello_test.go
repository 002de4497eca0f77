package catalogue_test

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// clientHello is a ClientHello (RFC 8446, section 4.1.2), whatever stands in it.
type clientHello struct {
	Record, Version uint16   // 0: 0x0301, 0x0303
	Versions        []uint16 // of the extension supported_versions; nil: there is none
	Suites          []uint16
	Compressions    []byte // nil: none but the null compression
	ServerName      string // "": there is no such extension
	Protocols       []string
	More            []byte // extensions behind these
}

// vector is bytes behind their length, which has n bytes.
func vector(n int, bytes []byte) []byte {
	length := binary.BigEndian.AppendUint64(nil, uint64(len(bytes)))
	return append(length[8-n:], bytes...)
}

func extension(kind uint16, bytes []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, kind), vector(2, bytes)...)
}

func words(all []uint16) (out []byte) {
	for _, w := range all {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}

// bytes is the hello in records.
func (h clientHello) bytes() []byte {
	if h.Record == 0 {
		h.Record = 0x0301
	}
	if h.Version == 0 {
		h.Version = 0x0303
	}
	if h.Compressions == nil {
		h.Compressions = []byte{0}
	}
	var e []byte
	if h.ServerName != "" {
		e = append(e, extension(0, vector(2, append([]byte{0}, vector(2, []byte(h.ServerName))...)))...)
	}
	e = append(e, extension(10, vector(2, words([]uint16{29, 23})))...)                         // supported_groups
	e = append(e, extension(11, []byte{1, 0})...)                                               // ec_point_formats
	e = append(e, extension(13, vector(2, words([]uint16{0x0403, 0x0804, 0x0401, 0x0203})))...) // signature_algorithms
	if h.Protocols != nil {
		var all []byte
		for _, p := range h.Protocols {
			all = append(all, vector(1, []byte(p))...)
		}
		e = append(e, extension(16, vector(2, all))...)
	}
	if h.Versions != nil {
		e = append(e, extension(43, vector(1, words(h.Versions)))...)
		share := make([]byte, 32)
		rand.Read(share)
		e = append(e, extension(51, vector(2, append([]byte{0, 29}, vector(2, share)...)))...)
	}
	e = append(e, h.More...)
	body := binary.BigEndian.AppendUint16(nil, h.Version)
	random := make([]byte, 32)
	rand.Read(random)
	body = append(body, random...)
	body = append(body, 0) // session id
	body = append(body, vector(2, words(h.Suites))...)
	body = append(body, vector(1, h.Compressions)...)
	body = append(body, vector(2, e)...)
	message := append([]byte{1}, vector(3, body)...)
	var out []byte
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		out = binary.BigEndian.AppendUint16(append(out, 22), h.Record)
		out = append(out, vector(2, message[:n])...)
		message = message[n:]
	}
	return out
}

// greeting is what a server says to a hello.
type greeting struct {
	alert            byte   // its description; 0: there was none
	suite            uint16 // that was chosen; 0: no hello came
	compression      byte
	version          uint16 // of the hello
	supportedVersion uint16 // of its extension; 0: there is none
}

// greet sends a hello on a connection of its own and reads the first thing that is said to it.
func (f *front) greet(t *testing.T, hello []byte) (g greeting) {
	t.Helper()
	c, err := net.Dial("tcp", f.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write(hello)
	var head [5]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return greeting{}
	}
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return greeting{}
	}
	switch {
	case head[0] == 21 && len(body) == 2:
		g.alert = body[1]
	case head[0] == 22 && len(body) > 39 && body[0] == 2:
		g.version = binary.BigEndian.Uint16(body[4:])
		at := 38 + 1 + int(body[38])
		g.suite, g.compression = binary.BigEndian.Uint16(body[at:]), body[at+2]
		for e := body[at+3+2:]; len(e) >= 4; {
			n := 4 + int(binary.BigEndian.Uint16(e[2:]))
			if binary.BigEndian.Uint16(e) == 43 {
				g.supportedVersion = binary.BigEndian.Uint16(e[4:])
			}
			if n > len(e) {
				break
			}
			e = e[n:]
		}
	}
	return g
}
