package catalogue_test

var issuerFaults = family{ID: "IP", Title: "An issuer that fails or lies"}
