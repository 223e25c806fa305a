//go:build race

package controlserver

// slow is how much longer the race detector makes work take.
const slow = 8
