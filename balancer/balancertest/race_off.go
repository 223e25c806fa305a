//go:build !race

package balancertest

const raced = false
