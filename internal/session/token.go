package session

import "time"

// MaxTokens is how many access tokens for APIs a session keeps. Those that end first make room.
const MaxTokens = 8

// Audience is what an access token is for: an API resource, an organization, or the resource as a member of it.
type Audience struct{ Resource, Organization string }

// Token is an access token of the person for an API, or that there is none.
type Token struct {
	Audience
	Value   string // "": the provider refused it
	Expires time.Time
	Life    time.Duration // how long it lived when it was new
	Refused string        // the provider's error code, with Value ""
	RetryAt time.Time     // it is not asked again before, with Value ""
}

// Token is what the session has for an audience. The zero Token: nothing was asked for yet.
func (s *Session) Token(of Audience) Token {
	for _, t := range s.Tokens {
		if t.Audience == of {
			return t
		}
	}
	return Token{}
}

// SetToken keeps t in place of what the session had for its audience. It is for a function that Update calls.
func (s *Session) SetToken(t Token) {
	list := make([]Token, 0, len(s.Tokens)+1)
	for _, old := range s.Tokens {
		if old.Audience != t.Audience {
			list = append(list, old)
		}
	}
	for len(list) >= MaxTokens {
		first := 0
		for i := range list {
			if list[i].Expires.Before(list[first].Expires) {
				first = i
			}
		}
		list = append(list[:first], list[first+1:]...)
	}
	s.Tokens = append(list, t)
}

// tokenRecord is a Token in a record.
type tokenRecord struct {
	Resource     string `json:"resource,omitempty"`
	Organization string `json:"organization,omitempty"`
	Value        string `json:"token,omitempty"`
	Expires      int64  `json:"expires,omitempty"`
	Life         int64  `json:"life,omitempty"`
	Refused      string `json:"refused,omitempty"`
	RetryAt      int64  `json:"retry,omitempty"`
}

func tokenRecords(list []Token) []tokenRecord {
	var out []tokenRecord
	for _, t := range list {
		out = append(out, tokenRecord{t.Resource, t.Organization, t.Value, micros(t.Expires), int64(t.Life), t.Refused, micros(t.RetryAt)})
	}
	return out
}

func tokensOf(list []tokenRecord) []Token {
	var out []Token
	for _, t := range list {
		out = append(out, Token{Audience{t.Resource, t.Organization}, t.Value, instant(t.Expires), time.Duration(t.Life), t.Refused, instant(t.RetryAt)})
	}
	return out
}
