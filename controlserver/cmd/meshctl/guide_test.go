package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the guide tells users to write is what check takes, without a warning. Its first example is the service
// that the others are about.
func TestExamplesOfTheGuide(t *testing.T) {
	text, err := os.ReadFile("../../../docs/resilience.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(text), "\n```yaml\n")[1:]
	if len(examples) < 10 {
		t.Fatalf("the guide has %d examples: the test does not find them", len(examples))
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "service.yaml"), filepath.Join(dir, "example.yaml")}
	for i, example := range examples {
		example, _, ok := strings.Cut(example, "\n```\n")
		if !ok {
			t.Fatalf("example %d has no end", i)
		}
		if err := os.WriteFile(files[min(i, 1)], []byte(example+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := ctl(t, append([]string{"check"}, files[:min(i, 1)+1]...)...)
		if code != 0 || stderr != "" || !strings.HasSuffix(stdout, ", 0 warnings\n") {
			t.Errorf("exit code %d\n%s%s\n%s", code, stdout, stderr, example)
		}
	}
}
