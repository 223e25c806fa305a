package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What the guides tell users to write is what check takes, without a warning. The first example of each is the service
// that the others are about.
func TestExamplesOfTheGuides(t *testing.T) {
	for guide, least := range map[string]int{"resilience": 10, "identity": 10} {
		t.Run(guide, func(t *testing.T) {
			dir := t.TempDir()
			files := []string{filepath.Join(dir, "service.yaml"), filepath.Join(dir, "example.yaml")}
			for i, example := range blocks(t, guide, "yaml", least) {
				if err := os.WriteFile(files[min(i, 1)], []byte(example), 0o600); err != nil {
					t.Fatal(err)
				}
				code, stdout, stderr := ctl(t, append([]string{"check"}, files[:min(i, 1)+1]...)...)
				if code != 0 || stderr != "" || !strings.HasSuffix(stdout, ", 0 warnings\n") {
					t.Errorf("exit code %d\n%s%s\n%s", code, stdout, stderr, example)
				}
			}
		})
	}
}

// So is what the README says of a service of the shop.
func TestExamplesOfTheReadme(t *testing.T) {
	example := filepath.Join(t.TempDir(), "readme.yaml")
	if err := os.WriteFile(example, []byte(strings.Join(blocks(t, "../README", "yaml", 2), "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := ctl(t, "check", "../../../examples/shop/mesh/services.yaml", example)
	if code != 0 || stderr != "" || !strings.HasSuffix(stdout, ", 0 warnings\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

// The program of the guide compiles.
func TestProgramOfTheGuide(t *testing.T) {
	program := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(program, []byte(blocks(t, "identity", "go", 1)[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "vet", program).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The commands of the guide have the flags that it gives them.
func TestCommandsOfTheGuide(t *testing.T) {
	n := 0
	meshctl := &cobra.Command{}
	meshctl.AddCommand(serveCommand(), checkCommand(), explainCommand(), statusCommand(), tokenCommand(), caCommand())
	for _, script := range blocks(t, "identity", "sh", 5) {
		for line := range strings.Lines(strings.ReplaceAll(script, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, "   #")
			_, line, ok := strings.Cut(line, "meshctl ")
			if !ok || strings.HasPrefix(line, "./") {
				continue
			}
			line, _, _ = strings.Cut(line, ")")
			line, _, _ = strings.Cut(line, " > ")
			var args []string
			for word := range strings.FieldsSeq(strings.TrimSuffix(strings.TrimSpace(line), "&")) {
				args = append(args, strings.Trim(word, "'"))
			}
			n++
			cmd, rest, err := meshctl.Find(args)
			if err == nil && !cmd.Runnable() {
				t.Errorf("meshctl %s is no command", strings.Join(args, " "))
			}
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("meshctl %s: %v", strings.Join(args, " "), err)
			}
		}
	}
	if n < 10 {
		t.Errorf("the guide has %d commands: the test does not find them", n)
	}
}

// blocks are those of a language in a guide.
func blocks(t *testing.T, guide, language string, least int) (out []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/" + guide + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(text), "\n```"+language+"\n")[1:] {
		block, _, ok := strings.Cut(block, "\n```\n")
		if !ok {
			t.Fatalf("a block of %s has no end", language)
		}
		out = append(out, block+"\n")
	}
	if len(out) < least {
		t.Fatalf("the guide has %d blocks of %s: the test does not find them", len(out), language)
	}
	return out
}
