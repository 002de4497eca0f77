package catalogue_test

var idTokens = family{ID: "JW", Title: "ID tokens and keys"}
