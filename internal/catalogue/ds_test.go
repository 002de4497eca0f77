package catalogue_test

var exhaustion = family{ID: "DS", Title: "Exhaustion"}
