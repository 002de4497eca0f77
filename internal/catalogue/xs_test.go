package catalogue_test

var ownPages = family{ID: "XS", Title: "Pages of our own"}
