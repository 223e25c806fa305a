//go:build race

package balancer

// raced says that the race detector allocates on its own account.
const raced = true
