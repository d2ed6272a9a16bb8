package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Tree is a node as a plain directory tree, as people send it from a machine
// where nothing may be installed: paths as on the node, byte for byte; X.err
// holds the words of the error instead of X; X.ls lists the directory X, one
// name a line, `name -> target` for links; the kernel's log is dev/kmsg, or what
// dmesg prints as the file dmesg beside proc and sys. It implements kernel.Source.
type Tree struct {
	root *os.Root
}

// OpenTree opens the tree at dir, which must hold at least proc or sys.
func OpenTree(dir string) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"proc", "sys"} {
		if st, err := root.Stat(d); err == nil && st.IsDir() {
			return &Tree{root}, nil
		}
	}
	root.Close()
	return nil, fmt.Errorf("%s: neither proc nor sys in it: not a tree of a node's files", dir)
}

// Origin implements kernel.Source. A tree does not say when it was taken; its
// page size is taken to be 4 KiB.
func (t *Tree) Origin() kernel.Origin { return kernel.Origin{Replay: true, PageSize: 4096} }

// Ask implements kernel.Source.
func (t *Tree) Ask(q kernel.Question) kernel.Answer {
	name := strings.TrimPrefix(path.Clean("/"+q.Path), "/")
	data, err := t.answer(q, name)
	if err == nil {
		return kernel.Answer{State: snapshot.Present, Data: data}
	}
	if !errors.Is(err, os.ErrNotExist) {
		state, words := kernel.Fault(err)
		return kernel.Answer{State: state, Err: words}
	}
	if words, err := t.read(name+".err", 4<<10); err == nil {
		return toldFault(strings.TrimSpace(string(words)))
	}
	// Whoever copied other files of the directory would have copied this one.
	if t.holdsFiles(path.Dir(name)) {
		return kernel.Answer{State: snapshot.Absent, Err: "no such file"}
	}
	return kernel.Answer{State: snapshot.Failed, Err: "not in this tree"}
}

func (t *Tree) answer(q kernel.Question, name string) ([]byte, error) {
	switch q.Op {
	case kernel.Read:
		return t.read(name, q.Max)
	case kernel.Link:
		if b, err := t.read(name, 4<<10); err == nil { // copied as text
			return bytes.TrimRight(b, "\n"), nil
		}
		s, err := t.root.Readlink(name)
		return []byte(s), err
	case kernel.List:
		return t.list(name, q.Max)
	case kernel.Names:
		b, err := t.read(name+".ls", 64<<20)
		if err != nil {
			return nil, err
		}
		return listing(b, q.Max)
	case kernel.Links:
		b, err := t.read(name+".ls", 64<<20)
		if err != nil {
			return nil, err
		}
		return listedLinks(b, q.Max)
	case kernel.Log:
		b, err := t.read(name, q.Max)
		if errors.Is(err, os.ErrNotExist) {
			b, err = t.read("dmesg", q.Max)
		}
		return b, err
	case kernel.Environ:
		b, err := t.read(name, q.Max)
		return identity.MemoryEnviron(b), err
	case kernel.Stat, kernel.BuildInfo, kernel.Marks, kernel.Heaps, kernel.Pipes: // nothing that people copy says it
		return nil, os.ErrNotExist
	}
	return nil, fmt.Errorf("no such question: %q", q.Op)
}

func (t *Tree) read(name string, max int) ([]byte, error) {
	st, err := t.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(max)+1))
	if err == nil && len(b) > max {
		return nil, fmt.Errorf("longer than %d bytes", max)
	}
	return b, err
}

func (t *Tree) list(name string, max int) ([]byte, error) {
	if b, err := t.read(name+".ls", 64<<20); err == nil {
		return listing(b, max)
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ents, err := f.ReadDir(max + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(ents) > max {
		return nil, fmt.Errorf("more than %d directories", max)
	}
	var names []byte
	for _, e := range ents {
		if e.IsDir() {
			names = append(append(names, e.Name()...), 0)
		}
	}
	return names, nil
}

func listing(b []byte, max int) ([]byte, error) {
	var names []byte
	count := 0
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		name, _, _ := strings.Cut(sc.Text(), " -> ")
		if count++; count > max {
			return nil, fmt.Errorf("more than %d names", max)
		}
		names = append(append(names, name...), 0)
	}
	return names, nil
}

func listedLinks(b []byte, max int) ([]byte, error) {
	var links []byte
	count := 0
	for line := range strings.Lines(string(b)) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " -> ")
		if !ok {
			continue
		}
		if count++; count > max {
			return nil, fmt.Errorf("more than %d links", max)
		}
		links = append(append(append(append(links, name...), 0), text...), 0)
	}
	return links, nil
}

func (t *Tree) holdsFiles(dir string) bool {
	f, err := t.root.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	ents, err := f.ReadDir(0)
	for _, e := range ents {
		if e.Type().IsRegular() {
			return true
		}
	}
	return err == nil && len(ents) == 0
}

// toldFault understands the words that cat, cp and the kernel's own error texts
// leave in an X.err file.
func toldFault(words string) kernel.Answer {
	a := kernel.Answer{State: snapshot.Failed, Err: words}
	switch lower := strings.ToLower(words); {
	case strings.Contains(lower, "no such file"), strings.Contains(lower, "not a directory"):
		a.State = snapshot.Absent
	case strings.Contains(lower, "no such process"), strings.Contains(lower, "no such device"):
		a.State, a.Err = snapshot.Absent, snapshot.Vanished
	case strings.Contains(lower, "not supported"):
		a.State = snapshot.Absent
	case strings.Contains(lower, "permission denied"), strings.Contains(lower, "not permitted"), strings.Contains(lower, "not readable"):
		a.State = snapshot.Denied
	}
	return a
}
