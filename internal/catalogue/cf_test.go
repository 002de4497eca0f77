package catalogue_test

var configuration = family{ID: "CF", Title: "Configuration"}
