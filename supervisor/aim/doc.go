// Package aim is how a test kills superd or its keeper at an instant that it has
// chosen: between the record of a deed and the deed, between two renames, between
// a fork and the word of it. A point is a line like
//
//	aim.At("spawn.recorded")
//
// which is nothing at all, not even a string, but in a build with -tags aim. There
// the process looks into a table that lies beside its own program (see [Open]), and
// kills itself when its turn has come. The soak in cmd arms the points and knows
// all of them by name; a test compares its list with the code.
//
// A point stands where being killed must not matter. It never has an argument that
// costs something to make, and nothing depends on it.
package aim
