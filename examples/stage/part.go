package stage

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// Play runs a part until it is told to end or its standard input is closed, as it is when the
// process that started it is gone for whatever reason: none is left behind. Lines that it is told go to hear, which may be nil.
func Play(name string, serve func(context.Context) error, hear func(line string)) (code int) {
	signal.Ignore(os.Interrupt) // Ctrl-C reaches the whole group; the director says when
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if hear != nil {
				hear(lines.Text())
			}
		}
		stop()
	}()
	if err := serve(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// ServeHTTP serves until ctx is done, then lets running requests end.
func ServeHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		done <- srv.Shutdown(bounded)
	}()
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return <-done
}

// ServeGRPC is ServeHTTP for gRPC.
func ServeGRPC(ctx context.Context, ln net.Listener, srv *grpc.Server) error {
	go func() {
		<-ctx.Done()
		srv.GracefulStop()
	}()
	return srv.Serve(ln)
}

// Quiet logs what a person must know: errors go to stderr with the part's name.
func Quiet(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})).With("instance", name)
}
