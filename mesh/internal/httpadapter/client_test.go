package httpadapter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

func TestClientFollowsRedirectsInTheMesh(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/old" {
				http.Redirect(w, r, "/new", http.StatusTemporaryRedirect)
				return
			}
			io.Copy(w, r.Body)
		}), resilience.Policy{})
		client := &http.Client{Transport: m}
		resp, err := client.Post("http://payments/old", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := read(t, resp.Body); got != "hello" || resp.Request.URL.String() != "http://payments/new" {
			t.Errorf("%q from %s", got, resp.Request.URL)
		}
	})
}

func TestClientSeesATimeout(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), resilience.Policy{})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		for name, c := range map[string]struct {
			client *http.Client
			ctx    context.Context
		}{
			"client's timeout":   {&http.Client{Transport: m, Timeout: 20 * time.Millisecond}, context.Background()},
			"context's deadline": {&http.Client{Transport: m}, ctx},
		} {
			_, err := c.client.Do(request(t, "GET", "http://payments/", nil).WithContext(c.ctx))
			var of *url.Error
			if !errors.As(err, &of) || !of.Timeout() {
				t.Errorf("%s: not a timeout: %v", name, err)
			}
			var e *engine.Error
			if name == "context's deadline" && (!errors.As(err, &e) || e.Kind != engine.Deadline) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, o := range m.watcher.calls {
			if o.Cause != resilience.Timeout && o.Cause != resilience.Canceled {
				t.Errorf("%+v", o)
			}
		}
	})
}
