package catalogue_test

var states = family{ID: "ST", Title: "States of sign-ins"}
