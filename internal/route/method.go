package route

// ValidMethod says whether the gateway knows the method: those of RFC 9110 9.3 without CONNECT and TRACE, PATCH
// (RFC 5789), and WebDAV's. Methods are case-sensitive.
func ValidMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH":
		return true
	case "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK": // RFC 4918 9
		return true
	case "VERSION-CONTROL", "REPORT", "CHECKOUT", "CHECKIN", "UNCHECKOUT", "MKWORKSPACE", "UPDATE", "LABEL", "MERGE",
		"BASELINE-CONTROL", "MKACTIVITY": // RFC 3253 3 to 13
		return true
	case "SEARCH": // RFC 5323 2
		return true
	case "ACL": // RFC 3744 8.1
		return true
	}
	return false
}

// matchMethod is the method as routes see it: HEAD counts as GET.
func matchMethod(m string) string {
	if m == "HEAD" {
		return "GET"
	}
	return m
}

// Methods is the list of all methods that ValidMethod knows, for the Allow header of a 405.
func Methods() string {
	return "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, PROPFIND, PROPPATCH, MKCOL, COPY, MOVE, LOCK, UNLOCK, " +
		"VERSION-CONTROL, REPORT, CHECKOUT, CHECKIN, UNCHECKOUT, MKWORKSPACE, UPDATE, LABEL, MERGE, BASELINE-CONTROL, " +
		"MKACTIVITY, SEARCH, ACL"
}
