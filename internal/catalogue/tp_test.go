package catalogue_test

var trustedProxies = family{ID: "TP", Title: "Trusted proxies"}
