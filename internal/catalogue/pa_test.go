package catalogue_test

var paths = family{ID: "PA", Title: "Paths and the choice of a route"}
