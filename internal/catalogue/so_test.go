package catalogue_test

var signOuts = family{ID: "SO", Title: "Sign-out"}
