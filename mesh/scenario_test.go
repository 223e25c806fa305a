package mesh_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

var update = flag.Bool("update", false, "rewrite the expected lines of scenarios")

// TestScenarios plays each file of testdata/scenarios over HTTP and over gRPC:
// the same policy must mean the same. A file is an archive of
//
//	*.yaml       configurations
//	script       commands, each followed by the lines it must print, indented by a tab
//
// PROTOCOL within a word stands for http or grpc, and a command after [http] or [grpc] is for that protocol alone. The commands:
//
//	apply FILE...                        makes the files the whole configuration
//	secure                               comes first: all have identities, SERVICE.NAMESPACE that of its service account
//	cut                                  takes the control server from the callers
//	backend NAME SERVICE [label=value]   starts an instance that answers with its name
//	hop NAME SERVICE NEXT [label=value]  starts one that calls the service NEXT first, and says so: name>answer
//	stop NAME                            shuts an instance down in good order
//	replace NAME ANOTHER SERVICE [l=v]   the same, and starts one of another service at its address
//	token NAME [claim=value]             makes a token, good for an hour; a value with commas is a list
//	fail NAME CODE                       makes an instance answer with an HTTP status (gRPC: the code it stands for); 200 heals it
//	slow NAME DURATION                   makes an instance wait before it answers
//	hold NAME                            makes an instance keep its calls waiting, but for those of /a/health
//	release NAME                         lets them go, and all that come
//	begin NAME SERVICE PATH N [h=v]      begins N calls, which reach the instance that holds them
//	rush SERVICE PATH N M [h=v]          begins N calls at once and prints what the first M came to
//	end                                  waits for all that were begun and prints what they came to
//	warm SERVICE PATH NAME... [h=v]      calls until each of these has answered: connections are made; or nobody: they are ended
//	call SERVICE PATH N [h=v]            calls N times and prints who answered, or why nobody did
//	answered SERVICE PATH N [h=v]        the same, whyever nobody did
//	stranger NAME PATH N [h=v]           calls an instance at its address in plaintext, not being of the mesh
//	share SERVICE PATH N [h=v]           the same, as shares rounded to tens of percent
//	answer SERVICE PATH [h=v]            calls once and prints the headers by which the mesh speaks, too; … is a number that time changes
//	flags                                prints the response flags of the calls that have ended since it was last asked
//	reached NAME                         prints how many calls have reached an instance since it was last asked
//	seen NAME                            prints what the last of them was like
//	said NAME                            prints what an instance has logged of callers since it was last asked, each thing once
//
// An instance with :locality=REGION/ZONE runs there. [h=v] are headers that the calls have, and
//
//	:method=GET      the HTTP method in place of POST
//	:timeout=20s     the caller's own deadline
//	:from=NAME       calls as another process, of the service NAME
//	:patient=yes     waits for a connection (gRPC)
//	:token=NAME      with a token that was made
//	:as=ID           a stranger's TLS, by a certificate of that SPIFFE ID that another authority has signed
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, protocol := range []string{"http", "grpc"} {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+protocol, func(t *testing.T) {
				newStage(t, archive, protocol).play(file)
			})
		}
	}
}

// A stage is one playing of a scenario.
type stage struct {
	t        *testing.T
	archive  *txtar.Archive
	protocol string
	kit      *meshtest.Kit
	secure   bool
	link     *link // of the callers to the control server
	reader   *sdkmetric.ManualReader
	metered  mesh.Option
	callers  map[string]*caller
	backends map[string]*backend
	tokens   map[string]string

	running int            // calls that were begun and are not known to have ended
	ended   chan string    // how they end
	counted int            // calls that have ended since the flags were asked for
	flagged map[string]int // those that were flagged
}

// patience bounds every wait of a scenario, and each call that has no time of its own.
const patience = time.Minute

func newStage(t *testing.T, archive *txtar.Archive, protocol string) *stage {
	s := &stage{t: t, archive: archive, protocol: protocol, callers: map[string]*caller{}, backends: map[string]*backend{}, tokens: map[string]string{},
		ended: make(chan string, 1000), flagged: map[string]int{}}
	kit := meshtest.New
	if s.secure = strings.HasPrefix(string(s.file("script").Data), "secure\n"); s.secure {
		kit = meshtest.Secure
	}
	s.kit = kit(t)
	s.link = newLink(t, s.kit.Addr())
	s.reader = sdkmetric.NewManualReader(sdkmetric.WithTemporalitySelector(func(sdkmetric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }))
	s.metered = mesh.WithTelemetry(nil, sdkmetric.NewMeterProvider(sdkmetric.WithReader(s.reader)))
	return s
}

func (s *stage) play(file string) {
	script := s.file("script")
	var got strings.Builder
	skipped := false
	for line := range strings.Lines(string(script.Data)) {
		switch {
		case strings.HasPrefix(line, "\t"): // what a command must print
			if skipped {
				got.WriteString(line)
			}
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
			got.WriteString(line)
		default:
			got.WriteString(line)
			words := strings.Fields(strings.ReplaceAll(line, "PROTOCOL", s.protocol))
			only, conditional := strings.CutPrefix(words[0], "[")
			if skipped = conditional && only != s.protocol+"]"; skipped {
				continue
			}
			if conditional {
				words = words[1:]
			}
			for out := range strings.Lines(s.command(words)) {
				got.WriteString("\t" + strings.TrimRight(out, "\n") + "\n")
			}
		}
	}
	if got.String() == string(script.Data) {
		return
	}
	if *update {
		script.Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(s.archive), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	s.t.Errorf("%s says\n%s\nbut over %s it is\n%s", file, script.Data, s.protocol, got.String())
}

func (s *stage) file(name string) *txtar.File {
	for i := range s.archive.Files {
		if s.archive.Files[i].Name == name {
			return &s.archive.Files[i]
		}
	}
	s.t.Fatalf("no file %q", name)
	return nil
}

func (s *stage) command(words []string) string {
	s.t.Helper()
	named := len(words)
	for named > 0 && strings.Contains(words[named-1], "=") {
		named--
	}
	said := pairs(words[named:])
	switch verb, args := words[0], words[1:named]; {
	case verb == "apply":
		var docs []string
		for _, name := range args {
			docs = append(docs, string(s.file(name).Data))
		}
		s.kit.Apply(strings.Join(docs, "\n---\n"))
	case verb == "secure" && len(args) == 0:
	case verb == "cut" && len(args) == 0:
		s.link.cut()
	case verb == "backend" && len(args) == 2:
		s.backend(s.kit, args[0], args[1], "", said)
	case verb == "hop" && len(args) == 3:
		s.backend(s.kit, args[0], args[1], args[2], said)
	case verb == "stop" && len(args) == 1:
		s.named(args[0]).stop()
	case verb == "replace" && len(args) == 3:
		s.replace(args[0], args[1], args[2], said)
	case verb == "token" && len(args) == 1:
		s.tokens[args[0]] = s.sign(said)
	case verb == "fail" && len(args) == 2:
		s.named(args[0]).code.Store(int64(s.number(args[1])))
	case verb == "slow" && len(args) == 2:
		s.named(args[0]).delay.Store(int64(s.duration(args[1])))
	case verb == "hold" && len(args) == 1:
		s.named(args[0]).hold()
	case verb == "release" && len(args) == 1:
		s.named(args[0]).release()
	case verb == "begin" && len(args) == 4:
		b := s.named(args[0])
		for range s.number(args[3]) {
			s.begin(args[1], args[2], said)
			select {
			case <-b.holds():
			case how := <-s.ended:
				s.t.Fatalf("a call that was to be held ended: %s", how)
			}
		}
	case verb == "rush" && len(args) == 4:
		for range s.number(args[2]) {
			s.begin(args[0], args[1], said)
		}
		return s.ends(s.number(args[3]))
	case verb == "end" && len(args) == 0:
		return s.ends(s.running)
	case verb == "warm" && len(args) >= 3:
		s.warm(args[0], args[1], args[2:], said)
	case (verb == "call" || verb == "share") && len(args) == 3:
		counts, n := map[string]int{}, s.number(args[2])
		for range n {
			counts[s.call(args[0], args[1], said)]++
		}
		s.counted += n
		return lines(counts, n, verb == "share")
	case verb == "answered" && len(args) == 3:
		counts, n := map[string]int{}, s.number(args[2])
		for range n {
			counts[cmp.Or(s.ask(args[0], args[1], said).who, "nobody")]++
		}
		s.counted += n
		return lines(counts, n, false)
	case verb == "stranger" && len(args) == 3:
		counts, n := map[string]int{}, s.number(args[2])
		for range n {
			counts[s.stranger(s.named(args[0]).addr, args[1], said)]++
		}
		return lines(counts, n, false)
	case verb == "answer" && len(args) == 2:
		a := s.ask(args[0], args[1], said)
		s.counted++
		return a.how() + "\n" + a.words()
	case verb == "flags" && len(args) == 0:
		return s.flags()
	case verb == "reached" && len(args) == 1:
		return fmt.Sprintln(s.named(args[0]).reached.Swap(0))
	case verb == "seen" && len(args) == 1:
		return s.named(args[0]).seen.Load().(string)
	case verb == "said" && len(args) == 1:
		return s.named(args[0]).log.said()
	default:
		s.t.Fatalf("no such command: %q", words)
	}
	return ""
}

func (s *stage) named(backend string) *backend {
	b := s.backends[backend]
	if b == nil {
		s.t.Fatalf("no backend %q", backend)
	}
	return b
}

func (s *stage) number(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) duration(word string) time.Duration {
	d, err := time.ParseDuration(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// begin begins a call.
func (s *stage) begin(service, path string, said map[string]string) {
	s.running++
	s.present(said)
	c := s.caller(said)
	go func() { s.ended <- c.ask(service, path, said).how() }()
}

// ends waits for the ends of n calls that were begun.
func (s *stage) ends(n int) string {
	counts := map[string]int{}
	for range n {
		counts[<-s.ended]++
	}
	s.running -= n
	s.counted += n
	return lines(counts, n, false)
}

// warm calls until all of the names have answered.
func (s *stage) warm(service, path string, names []string, said map[string]string) {
	for deadline := time.Now().Add(patience); ; {
		a := s.ask(service, path, said)
		who := cmp.Or(a.who, "nobody")
		s.counted++
		if names = slices.DeleteFunc(names, func(n string) bool { return n == who }); len(names) == 0 {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%q never answered, but %s", names, a.how())
		}
	}
	s.flags() // nobody is to be told of these calls
}

func pairs(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func lines(counts map[string]int, n int, share bool) string {
	var b strings.Builder
	for _, who := range slices.Sorted(maps.Keys(counts)) {
		if share {
			fmt.Fprintf(&b, "%s %d%%\n", who, int(math.Round(float64(counts[who])*10/float64(n)))*10)
		} else {
			fmt.Fprintf(&b, "%s %d\n", who, counts[who])
		}
	}
	return b.String()
}
