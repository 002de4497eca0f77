package signed

// FirstKeyID is the kid of the key that is made of the first candidate that is one, and how many there were to look at.
func FirstKeyID(candidates ...[]byte) (kid string, tries int) {
	k := firstKey(func(try int) []byte {
		tries++
		return candidates[try]
	})
	return k.public.ID, tries
}

// Cached is how many tokens are kept.
func (k *Keys) Cached() int { return len(k.cache.newer) + len(k.cache.older) }
