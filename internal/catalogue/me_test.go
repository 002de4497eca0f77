package catalogue_test

var methods = family{ID: "ME", Title: "Methods"}
