//go:build race

package resolver

// raced says that the race detector allocates on its own account.
const raced = true
