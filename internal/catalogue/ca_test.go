package catalogue_test

var caching = family{ID: "CA", Title: "Caches"}
