package catalogue_test

var upstreamFaults = family{ID: "UP", Title: "An application that fails or lies"}
