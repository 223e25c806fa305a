//go:build !race

package balancer

const raced = false
