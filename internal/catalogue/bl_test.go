package catalogue_test

var backchannelLogouts = family{ID: "BL", Title: "Back-channel logout"}
