package catalogue_test

var framing = family{ID: "SM", Title: "Framing of messages"}
