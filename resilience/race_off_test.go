//go:build !race

package resilience

const underRace = false
