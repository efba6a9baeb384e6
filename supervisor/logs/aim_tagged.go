//go:build aim

package logs

import "github.com/superd/superd/supervisor/aim"

// The instants of hook are points at which a build for the soak can be killed.
func init() { hook = func(at string) { aim.At("logs." + at) } }
