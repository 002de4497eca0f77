package catalogue_test

var hosts = family{ID: "HO", Title: "Hosts and addresses"}
