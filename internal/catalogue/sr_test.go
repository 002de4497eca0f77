package catalogue_test

var storeFaults = family{ID: "SR", Title: "A store that fails"}
