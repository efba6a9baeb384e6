//go:build !superd_fault

package main

// fault is where a build for tests fails. This is none.
func fault(*takeover) error { return nil }
