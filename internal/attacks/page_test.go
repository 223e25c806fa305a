package attacks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// catalogue are the rows of attacks that the page has to say something of, by class.
var catalogue = map[string]string{
	"A": "1 2 4 5 7 8 10 11 13 14 16 17 19 20",
	"B": "1 2 4 5 7 8 10 11 13 14 16 17 19 20 22 23 25",
	"C": "1 2 4 5 7 8 10 11 13 14 16 17 19 20",
	"D": "1 2 4 5 7 8 10 11 13 14 16 17 19 20",
	"E": "1 2 4 5 7 8 10 11 13 14 16 17 19 20 22",
	"T": "1 2 4 5 7 8 10 11 13 14 16 17 19",
	"G": "1 2 4 5 7 8",
	"H": "1 2 4 5 7 8 10 11 13 14 16 17 19 20 22 23 25",
}

var (
	ofRow  = regexp.MustCompile(`(?m)^\| ([A-HT]\d+(?:, [A-HT]?\d+)*) \|`)
	ofTest = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Benchmark)[A-Za-z0-9]+)`")
)

// The page says where each row is tested, or why it is not, and names no test that there is not.
func TestPageIsTrue(t *testing.T) {
	b, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), tableEnds)
	said := map[string]bool{}
	for _, m := range ofRow.FindAllStringSubmatch(text, -1) {
		class := ""
		for id := range strings.SplitSeq(m[1], ", ") {
			if id[0] >= 'A' {
				class = id[:1]
				id = id[1:]
			}
			said[class+id] = true
		}
	}
	for class, ids := range catalogue {
		for id := range strings.FieldsSeq(ids) {
			if !said[class+id] {
				t.Errorf("nothing is said of %s%s", class, id)
			}
		}
	}
	files := map[string]string{}
	named := 0
	for _, m := range ofTest.FindAllStringSubmatch(string(b), -1) {
		dir, name := m[1], m[2]
		if _, ok := files[dir]; !ok {
			var all strings.Builder
			names, _ := filepath.Glob(filepath.Join("../..", dir, "*_test.go"))
			for _, n := range names {
				text, err := os.ReadFile(n)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
			}
			files[dir] = all.String()
		}
		if named++; !strings.Contains(files[dir], "func "+name+"(") {
			t.Errorf("%s has no %s", dir, name)
		}
	}
	if named == 0 {
		t.Error("no test is named")
	}
}
