package catalogue_test

var webSockets = family{ID: "WS", Title: "WebSockets and streams"}
