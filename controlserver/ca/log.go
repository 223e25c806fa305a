package ca

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	logName = "issued.log"
	// segment is the size at which the file is set aside as issued-FIRST.log, FIRST being the number of its first entry, and a
	// new one begun. Files that were set aside are never touched again: removing them is the operator's business.
	segment = 64 << 20
	// logBatch is how many entries are brought to the disk together.
	logBatch = 512
)

// An Entry is a line of the log of certificates. Each holds the hash of the one before, so that nothing can be taken out or changed
// but at the end without it showing.
type Entry struct {
	Number   uint64    `json:"n"`
	Time     time.Time `json:"time"`
	Serial   string    `json:"serial"`
	Identity string    `json:"identity"`
	// By says what the caller proved itself by: "certificate", "token", "join token"; "self" is the control server.
	By       string    `json:"by"`
	CSR      string    `json:"csr,omitempty"` // SHA-256 of the request, hexadecimal
	NotAfter time.Time `json:"notAfter"`
	Previous string    `json:"previous"`
	Hash     string    `json:"hash"` // SHA-256 of the line with an empty hash
}

func (e Entry) sum() string {
	e.Hash = ""
	text, _ := json.Marshal(e) //nolint:errchkjson // it fails for years of five digits alone
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// An issueLog is the log of an authority's certificates. append returns when the entry is on the disk, and not merely written: a
// certificate is handed out after that. Entries that come at once share one fsync.
type issueLog struct {
	dir     string
	entries chan pending
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once

	file *os.File
	size int64
	last Entry
	err  error // that can't be got over: the file's end is not known
}

type pending struct {
	entry  Entry
	result chan<- error
}

// openLog goes on with the log of a directory. An entry that was being written when the process ended, and so was never acted on, is
// removed, which tell is told of.
func openLog(dir string, tell func(string)) (*issueLog, error) {
	l := &issueLog{dir: dir, entries: make(chan pending, logBatch), stop: make(chan struct{}), done: make(chan struct{})}
	path := filepath.Join(dir, logName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ca: issuance log: %w", err)
	}
	if err := l.resume(f, tell); err != nil {
		f.Close()
		return nil, fmt.Errorf("ca: issuance log %s: %w", path, err)
	}
	go l.run()
	return l, nil
}

// resume finds the last entry: of the file, or, if that is empty, of the one set aside last.
func (l *issueLog) resume(f *os.File, tell func(string)) error {
	l.file = f
	first, last, end, err := readLog(f, nil)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > end {
		if err := errors.Join(f.Truncate(end), f.Sync()); err != nil {
			return err
		}
		tell("its last line was not whole and is removed: no certificate was handed out for it")
	}
	l.size = end
	if first != nil {
		l.last = *last
		return nil
	}
	paths, err := setAside(l.dir)
	if err != nil || len(paths) == 0 {
		return err
	}
	old, err := os.Open(paths[len(paths)-1])
	if err != nil {
		return err
	}
	defer old.Close()
	if first, last, _, err = readLog(old, nil); err == nil && first != nil {
		l.last = *last
	}
	return err
}

// append puts an entry to the log; its number and hashes are the log's to say. An error means that the certificate must not be handed out.
func (l *issueLog) append(e Entry) error {
	result := make(chan error, 1)
	select {
	case l.entries <- pending{e, result}:
	case <-l.stop:
		return errClosed
	}
	select {
	case err := <-result:
		return err
	case <-l.done:
		return errClosed
	}
}

// close returns when what was begun is on the disk.
func (l *issueLog) close() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}

func (l *issueLog) run() {
	defer close(l.done)
	defer func() { l.file.Close() }()
	for {
		var batch []pending
		select {
		case p := <-l.entries:
			batch = append(batch, p)
		case <-l.stop:
			return
		}
	more:
		for len(batch) < logBatch {
			select {
			case p := <-l.entries:
				batch = append(batch, p)
			default:
				break more
			}
		}
		err := l.write(batch)
		for _, p := range batch {
			p.result <- err
		}
	}
}

// write brings entries to the disk, all of them or none.
func (l *issueLog) write(batch []pending) error {
	if l.err != nil {
		return l.err
	}
	if err := l.turn(); err != nil {
		return fmt.Errorf("ca: issuance log: %w", err)
	}
	var text bytes.Buffer
	last := l.last
	for _, p := range batch {
		e := p.entry
		e.Number, e.Previous = last.Number+1, last.Hash
		e.Hash = e.sum()
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("ca: issuance log: %w", err)
		}
		text.Write(append(line, '\n'))
		last = e
	}
	_, err := l.file.Write(text.Bytes())
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		// What is there of it belongs to no certificate.
		if undo := l.file.Truncate(l.size); undo != nil {
			l.err = fmt.Errorf("ca: issuance log: no more certificates until a restart: %w", errors.Join(err, undo))
		}
		return fmt.Errorf("ca: issuance log: no certificate without an entry: %w", err)
	}
	l.size += int64(text.Len())
	l.last = last
	return nil
}

// turn sets a file aside that has its size.
func (l *issueLog) turn() error {
	if l.size < segment {
		return nil
	}
	first, _, _, err := readLog(io.NewSectionReader(l.file, 0, l.size), func(Entry, []byte) bool { return false })
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, logName)
	if err := os.Rename(path, filepath.Join(l.dir, fmt.Sprintf("issued-%020d.log", first.Number))); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.file.Close()
	l.file, l.size = f, 0
	return syncDir(l.dir)
}

// VerifyLog reads a log of certificates, a file or the state directory with all there is of it, and reports how many entries there are. The
// error names the first that does not follow from the one before. What an attacker can do who may write to the file is to make a whole new
// one, or to take off the end: compare the last hash with one kept elsewhere.
func VerifyLog(path string) (entries int, last Entry, err error) {
	paths := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return 0, last, fmt.Errorf("ca: issuance log: %w", err)
	}
	if info.IsDir() {
		if paths, err = setAside(path); err != nil {
			return 0, last, fmt.Errorf("ca: issuance log: %w", err)
		}
		paths = append(paths, filepath.Join(path, logName))
	}
	for _, p := range paths {
		n, l, err := verifyFile(p, last)
		entries += n
		if err != nil {
			return entries, last, fmt.Errorf("ca: issuance log %s: %w", p, err)
		}
		last = l
	}
	return entries, last, nil
}

// verifyFile reads one file, which goes on from the entry before; the zero Entry is where the log, or what is left of it, begins.
func verifyFile(path string, before Entry) (n int, last Entry, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, before, err
	}
	defer f.Close()
	last = before
	var broken error
	_, _, end, err := readLog(f, func(e Entry, line []byte) bool {
		whole, _ := json.Marshal(e)
		begins := last.Number == 0 && (e.Number > 1 || e.Previous == "")
		switch {
		case e.Hash != e.sum() || !bytes.Equal(append(whole, '\n'), line):
			broken = fmt.Errorf("entry %d was changed: its hash is another", e.Number)
		case !begins && (e.Previous != last.Hash || e.Number != last.Number+1):
			broken = fmt.Errorf("entry %d does not follow from entry %d", e.Number, last.Number)
		default:
			last = e
			n++
		}
		return broken == nil
	})
	if err = errors.Join(err, broken); err != nil {
		return n, last, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > end {
		return n, last, errors.New("its last line is not whole")
	}
	return n, last, nil
}

// setAside are the files that were set aside, the oldest first.
func setAside(dir string) ([]string, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n.Name(), "issued-") && strings.HasSuffix(n.Name(), ".log") {
			out = append(out, filepath.Join(dir, n.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// readLog reads entries until each, which may be nil, says to stop. end is where the last whole line ends.
func readLog(r io.Reader, each func(e Entry, line []byte) bool) (first, last *Entry, end int64, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return first, last, end, nil
		}
		if err != nil {
			return first, last, end, err
		}
		e := new(Entry)
		if err := json.Unmarshal(line, e); err != nil {
			return first, last, end, fmt.Errorf("at byte %d: %w", end, err)
		}
		if first == nil {
			first = e
		}
		last, end = e, end+int64(len(line))
		if each != nil && !each(*e, line) {
			return first, last, end, nil
		}
	}
}
