package catalogue_test

var sessions = family{ID: "SE", Title: "Sessions"}
