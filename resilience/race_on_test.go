//go:build race

package resilience

// underRace says that the race detector allocates on its own account.
const underRace = true
