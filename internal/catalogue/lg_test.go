package catalogue_test

var logs = family{ID: "LG", Title: "Logs"}
