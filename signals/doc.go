// Package signals turns what people write about signals into values and back:
// names and numbers, durations, the sequences that end a run, and the presets of
// known programs.
//
// It sends nothing, knows no process and imports nothing of superd's, so that
// the pure core, the configuration and superctl can all share one vocabulary.
//
// Start reading at Parse (names.go), then ParseSequence (sequence.go) and Preset (presets.go).
package signals
