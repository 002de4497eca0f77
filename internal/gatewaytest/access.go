package gatewaytest

// AccessToken is a JWT access token for an audience, as Logto makes it for a machine: its client is its subject. edit
// changes header and claims before they are signed, by the issuer's key whatever the header says; nil: it changes nothing.
func (i *Issuer) AccessToken(audience string, edit func(header, claims map[string]any)) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	header := i.Key.Header(map[string]any{"typ": "at+jwt"})
	claims := map[string]any{
		"jti": random(), "sub": "machine-1", "client_id": "machine-1", "iss": i.URL + "/oidc", "aud": audience, "scope": "read write",
		"iat": i.now().Unix(), "exp": i.now().Unix() + 3600,
	}
	if edit != nil {
		edit(header, claims)
	}
	token := i.Key.Token(header, claims)
	i.secrets[token] = "access_token"
	return token
}
