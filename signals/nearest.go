package signals

// Nearest is the candidate that somebody who wrote word most likely meant, or
// empty if none is near: at most one slip in three letters (a letter missing,
// added, changed, or two of them swapped). It serves every list of names that
// people misspell, keys of the configuration included.
func Nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	best, nearest := len(word)/3+1, ""
	for _, c := range candidates {
		if d := distance(word, c); d < best {
			best, nearest = d, c
		}
	}
	return nearest
}

// distance counts insertions, deletions, substitutions and swaps of neighbours
// (optimal string alignment).
func distance(a, b string) int {
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
