package catalogue_test

var openRedirects = family{ID: "RD", Title: "Open redirects"}
