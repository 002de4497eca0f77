package authflow

import "net/http"

// ChallengeElsewhere answers the proxy that asked about a request which needs a sign-in, as Challenge answers the request
// itself; but nothing begins here: with redirects a page goes to the sign-in endpoint of its own host, and gets 401 without.
func (f *Flow) ChallengeElsewhere(w http.ResponseWriter, r *http.Request, ret ReturnPath, redirects bool) error {
	ret = f.Endpoints.Return(ret)
	switch kind := Classify(r, f.origin(r)); {
	case kind != Navigation:
		return f.refuse(r, kind, ret)
	case !redirects:
		return f.Unauthorized(r, ret)
	}
	redirect(w, f.origin(r)+f.Endpoints.SignInURL(ret, false), http.StatusFound)
	return nil
}

// Again has a browser send a request once more, which another proxy did not let pass and would by now.
func (f *Flow) Again(w http.ResponseWriter, ret ReturnPath) {
	redirect(w, f.Endpoints.Return(ret).String(), http.StatusTemporaryRedirect)
}
