package core

import "time"

// random is the next number of the state's own source (splitmix64, Steele, Lea
// and Flood 2014): from one seed the same decisions follow.
func (s *State) random() uint64 {
	s.Seed += 0x9e3779b97f4a7c15
	z := s.Seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// fraction is a random number from 0 up to, but without, 1.
func (s *State) fraction() float64 { return float64(s.random()>>11) / (1 << 53) }

// idDigits are in the order of their bytes, so that IDs sort as they count.
const idDigits = "0123456789abcdefghijklmnopqrstuv"

// newID makes an ID of 20 characters: milliseconds in the first ten, which
// sorts it by time even when the wall clock steps back, then 50 random bits.
func (s *State) newID(now Time) string {
	if ms := now.Wall.UnixMilli(); ms > s.lastID {
		s.lastID = ms
	} else {
		s.lastID++
	}
	var id [20]byte
	put := func(b []byte, v uint64) {
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = idDigits[v&31]
			v >>= 5
		}
	}
	put(id[:10], uint64(s.lastID))
	put(id[10:], s.random())
	return string(id[:])
}

// spread adds or takes up to the given fraction of d.
func (s *State) spread(d time.Duration, fraction float64) time.Duration {
	if fraction == 0 {
		return d
	}
	return d + time.Duration(float64(d)*fraction*(2*s.fraction()-1))
}
