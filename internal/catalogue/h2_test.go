package catalogue_test

var http2Frames = family{ID: "H2", Title: "HTTP/2"}
