package tcpadapter

import (
	"runtime"
	"strings"
)

// servesRequests reports whether who accepts connections is a server of HTTP or gRPC, by the functions that called: there is no other sign of
// it before a connection is handed out, and rules of requests are asked by nobody else. Tests hold the names to the releases in use.
func servesRequests() bool {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
	for {
		f, more := frames.Next()
		if f.Function == "net/http.(*Server).Serve" || strings.HasSuffix(f.Function, "google.golang.org/grpc.(*Server).Serve") {
			return true
		}
		if !more {
			return false
		}
	}
}
