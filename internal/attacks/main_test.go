package attacks

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// update has the table in docs/security.md written.
var update = flag.Bool("update", false, "write the results to docs/security.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
