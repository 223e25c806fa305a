// Package shoppb is generated from shop.proto: the shop's two gRPC services.
//
// To make it again: protoc --go_out=. --go_opt=paths=source_relative
// --go-grpc_out=. --go-grpc_opt=paths=source_relative shop.proto
package shoppb
