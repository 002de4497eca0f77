package catalogue_test

var cookies = family{ID: "CK", Title: "Cookies"}
