package catalogue_test

var operation = family{ID: "OP", Title: "Operation"}
