package catalogue_test

var denials = family{ID: "DN", Title: "Answers to those who are not let in"}
