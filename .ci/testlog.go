// Command testlog reads `go test -json` and prints what a person wants of it:
// a line a package, all that a failed test said, each test that skipped, and a sum.
// It exits 1 when something failed, or ran nothing, or, with -noskip, skipped.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
}

func main() {
	noskip := flag.Bool("noskip", false, "a test that skipped is a failure")
	flag.Parse()

	said := map[string]string{} // what each test and package said so far
	var passed, failed, skipped int
	broken := false
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // the go command's own words
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			said[key] += e.Output
		case "build-output":
			fmt.Print(e.Output)
		case "build-fail":
			broken = true
		case "pass", "fail", "skip":
			text := said[key]
			delete(said, key)
			if e.Test == "" {
				broken = broken || e.Action == "fail"
				switch e.Action {
				case "fail":
					fmt.Print(text)
				case "pass":
					fmt.Print(lastLine(text))
				} // a package that skips has no tests
				continue
			}
			switch e.Action {
			case "pass":
				passed++
				text = ""
			case "fail":
				failed++
			case "skip":
				skipped++
			}
			fmt.Print(text)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("testlog:", err)
		broken = true
	}
	for key, text := range said { // the process died within
		fmt.Printf("unfinished: %s\n%s", strings.TrimSpace(key), text)
		broken = true
	}
	fmt.Printf("tests: %d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if broken || failed > 0 || passed == 0 || *noskip && skipped > 0 {
		if *noskip && skipped > 0 {
			fmt.Println("a test skipped where none may")
		}
		os.Exit(1)
	}
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:] + "\n"
}
