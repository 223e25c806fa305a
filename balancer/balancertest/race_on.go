//go:build race

package balancertest

// raced says that the race detector allocates on its own account.
const raced = true
