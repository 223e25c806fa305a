//go:build race

package engine

// raced says that the race detector allocates on its own account.
const raced = true
