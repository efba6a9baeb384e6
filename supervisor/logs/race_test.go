//go:build race

package logs

const race = true // the race detector is on: memory is not what it is
