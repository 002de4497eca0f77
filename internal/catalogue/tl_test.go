package catalogue_test

var transport = family{ID: "TL", Title: "TLS"}
