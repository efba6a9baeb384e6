//go:build !race

package logs

const race = false
