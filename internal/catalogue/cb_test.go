package catalogue_test

var callbacks = family{ID: "CB", Title: "Callbacks"}
