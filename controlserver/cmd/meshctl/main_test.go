package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write what the tests find as what they want")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ctl runs a command line in this process.
func ctl(tb testing.TB, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	var out, errs bytes.Buffer
	code = run(tb.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		args   string
		code   int
		stderr string // of it; nothing more than one line is ever said
	}{
		{"", 0, ""},
		{"--help", 0, ""},
		{"check testdata/mesh", 0, ""},
		{"check testdata/mesh/services.yaml", 0, ""},
		{"check testdata/broken", 1, ""},
		{"check testdata/nowhere", 1, "there is no file or directory testdata/nowhere"},
		{"check", 2, "at least 1 arg(s), only received 0 (see meshctl check --help)"},
		{"nonsense", 2, `unknown command "nonsense"`},
		{"check --nonsense testdata/mesh", 2, "unknown flag: --nonsense"},
		{"serve", 2, `required flag(s) "config" not set`},
		{"serve --config testdata/nowhere", 1, "configuration directory testdata/nowhere does not exist"},
		{"serve --config testdata/mesh extra", 2, `unknown command "extra"`},
		{"serve --config testdata/mesh --grace soon", 2, "--grace"},
		{"explain --config testdata/mesh --from orders.shop http://payments/", 0, ""},
		{"explain --config testdata/mesh --from orders.shop http://paymnts/", 1, `no service "paymnts"; nearest: payments.shop.svc.cluster.local`},
		{"explain --config testdata/mesh --from orders.shop http://payments:81/", 1, `service "payments:81" has no port 81; it has 80`},
		{"explain --config testdata/nowhere --from orders http://payments/", 1, "there is no file or directory testdata/nowhere"},
		{"explain --config testdata/mesh --from orders", 2, "accepts 1 arg(s)"},
		{"explain --config testdata/mesh http://payments/", 2, `required flag(s) "from" not set`},
		{"explain --config testdata/mesh --from orders /payments", 2, "names no service"},
		{"explain --config testdata/mesh --from orders http://%zz/", 2, "invalid URL escape"},
		{"explain --config testdata/mesh --from orders --header x-tester http://payments/", 2, `--header "x-tester" is not name=value`},
		{"explain --config testdata/mesh --from orders --label app http://payments/", 2, `--label "app" is not name=value`},
		{"status --server 127.0.0.1:1", 1, "no control server answers at http://127.0.0.1:1 (set --server to its --web address)"},
		{"status --server http://[", 2, ""},
		{"token create --identity payments", 2, `--identity "payments"`},
		{"token create --state testdata --identity spiffe://td/ns/shop/sa/payments", 1, "testdata is no state directory (a control server makes it"},
		{"token create --trust-domain other --identity spiffe://td/ns/shop/sa/payments", 2, "--trust-domain other: spiffe://td/ns/shop/sa/payments is of another one"},
	} {
		t.Run("meshctl "+test.args, func(t *testing.T) {
			code, _, stderr := ctl(t, strings.Fields(test.args)...)
			if code != test.code || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q", code, test.code, stderr, test.stderr)
			}
			if code == 0 && stderr != "" || strings.Count(stderr, "\n") > 1 {
				t.Errorf("stderr: %s", stderr)
			}
		})
	}
}

func TestCheckPrintsOneLineAFinding(t *testing.T) {
	code, stdout, _ := ctl(t, "check", "testdata/broken")
	want := `testdata/broken/a.yaml:16: VirtualService/shop/payments: spec.http[0].timeout: "soon" is not a duration such as "1.5s" or "2m"
testdata/broken/a.yaml:18: VirtualService/shop/payments: spec.http[1]: is never reached: http[0] takes every request (warning)
testdata/broken/a.yaml:18: VirtualService/shop/payments: spec.http[1].timuot: unknown field "timuot"; did you mean "timeout"?
testdata/broken/a.yaml:28: VirtualService/shop/old: spec.http[0].route[0].destination.subset: no DestinationRule gives payments.shop.svc.cluster.local the subset "v9"
testdata/broken/a.yaml:35: DestinationRule/shop/ledger: spec.host: no service has the host "ledger" (warning)
`
	if code != 1 || stdout != want {
		t.Errorf("exit code %d\n%s\nwant\n%s", code, stdout, want)
	}
}

func TestCheckWithWarningsOnlyIsOK(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ledger}\nspec: {host: ledger}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := ctl(t, "check", file)
	if want := "(warning)\nok: 1 objects, 1 warnings\n"; code != 0 || !strings.HasSuffix(stdout, want) {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// Files that belong together may be given one by one.
func TestCheckTakesPathsTogether(t *testing.T) {
	if code, stdout, _ := ctl(t, "check", "testdata/mesh/routes.yaml"); code != 1 || !strings.Contains(stdout, "no service has the host") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	if code, stdout, _ := ctl(t, "check", "testdata/mesh/routes.yaml", "testdata/mesh/services.yaml"); code != 0 || stdout != "ok: 4 objects, 0 warnings\n" {
		t.Errorf("exit code %d: %s", code, stdout)
	}
}

// The binary itself: exit codes and streams are what the process says.
func TestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	bin := filepath.Join(t.TempDir(), "meshctl")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for args, want := range map[string]int{"check testdata/mesh": 0, "check testdata/broken": 1, "check": 2} {
		cmd := exec.CommandContext(context.Background(), bin, strings.Fields(args)...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("meshctl %s: exit code %d, want %d", args, got, want)
		}
		if (stdout.Len() == 0) != (want == 2) || (stderr.Len() == 0) != (want != 2) {
			t.Errorf("meshctl %s: stdout %q, stderr %q", args, &stdout, &stderr)
		}
	}
}
