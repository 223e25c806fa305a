//go:build !race

package grpcadapter

const racing = false
