// Command superd keeps pools of worker processes running. It wires the packages
// together: flags in, exit code out. It must never hold a rule of its own;
// decisions are in supervisor/core.
//
// Started as "superd keep" it is the keeper, and as the stage of a start it
// becomes the worker: both are entered before anything else is set up.
//
// Start reading at main.go.
package main
