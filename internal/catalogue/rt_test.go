package catalogue_test

var refreshes = family{ID: "RT", Title: "Tokens over time"}
