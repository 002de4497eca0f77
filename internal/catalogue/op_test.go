package catalogue_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"portero/internal/gatewaytest"
)

var operation = family{ID: "OP", Title: "Operation"}

// atAdmin sends text to the admin listener as it is, and reads the answer.
func (f *front) atAdmin(t *testing.T, text string) *gatewaytest.Answer {
	t.Helper()
	_, admin := f.Process.Addresses()
	return askAt(t, admin, text)
}

// askAt sends text to an address as it is, and reads the answer.
func askAt(t *testing.T, address, text string) *gatewaytest.Answer {
	t.Helper()
	const patience = 15 * time.Second
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, text)
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return &gatewaytest.Answer{Err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &gatewaytest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Err: err}
}

// adminForm posts a form to the admin listener, with its token.
func (f *front) adminForm(t *testing.T, path string, form url.Values) *gatewaytest.Answer {
	t.Helper()
	body := form.Encode()
	return f.atAdmin(t, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+gatewaytest.AdminToken+
		"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
}
