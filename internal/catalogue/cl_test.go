package catalogue_test

var claims = family{ID: "CL", Title: "Claims in headers"}
