package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestExplain(t *testing.T) {
	for name, args := range map[string][]string{
		"weights":        {"--from", "orders.shop", "http://payments/charge"},
		"header":         {"--from", "orders.shop", "--header", "X-Tester=yes", "http://payments/charge"},
		"query":          {"--from", "orders.shop", "http://payments/v1/x?beta=1"},
		"caller":         {"--from", "qa.shop", "http://payments/charge"},
		"label":          {"--from", "orders.shop", "--label", "app=qa", "http://payments/charge"},
		"none":           {"--from", "orders.shop", "http://payments/other"},
		"grpc":           {"--from", "orders.shop", "mesh:///payments/shop.Payments/Charge"},
		"far":            {"--from", "orders.elsewhere", "http://payments.shop:80/charge"},
		"selector":       {"--from", "orders.shop", "--method", "DELETE", "http://inventory/items"},
		"missing-subset": {"--from", "orders.shop", "--config", "testdata/broken", "http://payments/old"},

		"allowed":           guarded("--from", "orders.shop", "--method", "POST", "http://payments/charge"),
		"allowed-grpc":      guarded("--from", "orders.shop", "mesh:///payments/shop.Payments/Charge"),
		"denied":            guarded("--from", "orders.shop", "--method", "POST", "http://payments/charge/refund"),
		"denied-path":       guarded("--from", "orders.shop", "--method", "POST", "http://payments/x/../%63harge/refund"),
		"not-allowed":       guarded("--from", "web.shop", "http://payments/charge"),
		"asked":             guarded("--from", "orders.shop", "--method", "POST", "http://payments/charge/big"),
		"plaintext":         guarded("--from", "orders.shop", "--plaintext", "--method", "POST", "http://payments/charge"),
		"principal":         guarded("--from", "orders.shop", "--principal", "example.org/ns/back-office/sa/x", "http://payments/list"),
		"claim":             guarded("--from", "orders.shop", "--principal", "example.org/ns/back-office/sa/x", "--claim", "groups=clerks", "--claim", "groups=all", "http://payments/list"),
		"stranger's-token":  guarded("--from", "orders.shop", "--claim", "iss=https://elsewhere", "http://payments/list"),
		"registered":        guarded("--from", "orders.shop", "http://stock/"),
		"registered-denied": guarded("--from", "web.shop", "http://stock/"),
		"no-form":           guarded("--from", "orders.shop", "http://payments/a%2Fb"),
	} {
		t.Run(name, func(t *testing.T) {
			code, got, stderr := ctl(t, append([]string{"explain", "--config", "testdata/mesh"}, args...)...) // the last --config counts
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			file := filepath.Join("testdata", "explain", name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func guarded(args ...string) []string {
	return append([]string{"--config", "testdata/guarded"}, args...)
}
