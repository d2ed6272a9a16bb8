// Package kernel owns the one door through which memwhy asks the kernel
// anything by file: read this file, list this directory, where does this link
// point. The same questions can be put to a running node, to a recording of one
// and to a plain directory tree, and the answers look the same.
//
// It must not know the format or the meaning of any file, but for executables,
// which are too large to be handed on (where an ELF file keeps a section, and
// whether a text is in it), and for the environment and the memory of processes,
// which are secret: only what is about memory is ever handed on. It never writes.
package kernel

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Op is what is asked of a path.
type Op string

// The questions.
const (
	Read  Op = "read"  // the bytes of a file
	List  Op = "list"  // the names of the sub-directories (or of the entries of a recorded listing), each followed by a NUL
	Link  Op = "link"  // the text of a symbolic link
	Links Op = "links" // the name and the text of every symbolic link of a directory, each followed by a NUL

	// Names lists a directory of sysfs: the names of all entries, each followed by
	// a NUL.
	Names Op = "names"
	// Inodes is List with numbers: of each sub-directory, and of the directory
	// itself as ".", the inode number, a space and the name.
	Inodes Op = "inodes"
	// Stat is asked of /proc/PID/fd/N alone and looks at the regular file that is
	// open there, without opening it: lines of a key of snapshot.OpenFile and a
	// number.
	Stat Op = "stat"
	// Cached is asked of /proc/PID/fd/N, /proc/PID/map_files/X-Y and of files and
	// directories below /proc/PID/root: which regular files have pages in memory.
	// A directory is walked without leaving its mount. Max is how many entries of
	// directories are looked at; so many times 50 us is how long it takes at most.
	// ParseCached parses the answer.
	Cached Op = "cached"
	// Numbered is asked of directories below /proc/PID/root alone: of each regular file
	// in it an "f", of each directory a "d", then its inode number, a space and its
	// name, followed by a NUL. Nothing of it is looked at, and no link leads there.
	Numbered Op = "numbered"
	// BuildInfo is asked of /proc/PID/exe alone: the beginning of the section
	// where Go says what built the executable. Absent when it has none.
	BuildInfo Op = "buildinfo"
	// Marks is asked of an executable: which of a few texts are in it, and what
	// Go says of its build; see searchMarks for the lines of the answer. Max is
	// how large it may be.
	Marks Op = "marks"
	// Log is asked of /dev/kmsg alone: all that the kernel's ring of messages holds
	// at the moment, one record a line as the device prints it. Who keeps answers
	// may give a log in another dress, or what package kmsg made of one.
	Log Op = "log"
	// Environ is asked of /proc/PID/environ alone: of the variables that it started
	// with, those about its memory, as identity.MemoryEnviron leaves them, each
	// followed by a NUL. Others, which may be secrets, are never handed on.
	Environ Op = "environ"
	// Heaps is asked of /proc/PID/mem alone: snapshot.Heaps in JSON, what package
	// heaps finds in the memory of that process. Nothing else of it is handed on.
	// Max is how many bytes of maps it may have.
	Heaps Op = "heaps"
	// Pipes is asked of /proc/PID/fd alone: of each pipe without a name that the
	// process has open, the inode number, the bytes in it and how many it may hold, a
	// line each. It neither opens nor reads them.
	Pipes Op = "pipes"
	// Containers is what the container runtimes of the node say: snapshot.Names in
	// JSON. Asked of "/" it is the list, of "/ID" more of one of the list: of the
	// container of that id, or of the pod of that UID. Kernels do not know: who
	// composes a source answers it.
	Containers Op = "containers"
)

// LogPath is where the kernel's log is.
const LogPath = "/dev/kmsg"

// Question asks one thing of the node. Path is absolute on the node, whatever
// prefix the node's root has here. Max bounds the answer: bytes for Read and Log,
// names for List, Names, Links and Numbered; more than that is a Failed answer, never a silently
// shorter one. For BuildInfo it is how much of the section is wanted.
type Question struct {
	Op   Op
	Path string
	Max  int
}

// Answer is what came back. Data belongs to the caller.
type Answer struct {
	Data  []byte
	State snapshot.State
	Err   string // in words, when State is not Present
	At    time.Time
}

// Names splits the answer to List or Names.
func (a Answer) Names() []string {
	s := strings.TrimSuffix(string(a.Data), "\x00")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}

// Links splits the answer to Links. A name without a text is left out.
func (a Answer) Links() []snapshot.LinkText {
	names := a.Names()
	links := make([]snapshot.LinkText, 0, len(names)/2)
	for i := 0; i+1 < len(names); i += 2 {
		links = append(links, snapshot.LinkText{Name: names[i], Text: names[i+1]})
	}
	return links
}

// Source answers questions. Its methods may be called concurrently.
type Source interface {
	Ask(Question) Answer
	Origin() Origin
}

// AskAll asks questions that do not depend on each other's answers. A source
// with a method AskAll may answer them faster together.
func AskAll(src Source, qs []Question) []Answer {
	if all, ok := src.(interface{ AskAll([]Question) []Answer }); ok {
		return all.AskAll(qs)
	}
	answers := make([]Answer, len(qs))
	for i, q := range qs {
		answers[i] = src.Ask(q)
	}
	return answers
}

// Census asks for a census of the node's pages, which is no file: a source that
// can tell has a method Census. It is taken once for all who ask. An engine that
// sees no page frames looks at what pids have open and mapped.
func Census(src Source, pids []int) snapshot.Reading[*snapshot.Census] {
	if c, ok := src.(interface {
		Census(pids []int) snapshot.Reading[*snapshot.Census]
	}); ok {
		return c.Census(pids)
	}
	return snapshot.Reading[*snapshot.Census]{State: snapshot.Absent, Source: snapshot.CensusSource, Err: "nothing here takes one"}
}

// Last is the look that a source itself is, after all earlier ones.
const Last = -1

// Look gives the source of the n-th earlier look at the same node, from 0 on, and
// of the Last. A running node is asked then: not before after has passed since the
// first look. A recording has those that were recorded, whenever they were. Other
// sources, and those whose time is up, have none.
func Look(src Source, n int, after time.Duration) (Source, bool) {
	if w, ok := src.(interface {
		Look(n int, after time.Duration) (Source, bool)
	}); ok {
		return w.Look(n, after)
	}
	return src, n == Last
}

// Origin says where answers come from.
type Origin struct {
	Replay    bool
	Generated time.Time     // when the answers were taken; zero when unknown
	PageSize  int64         // bytes
	Target    string        // what a capture was taken of; empty otherwise
	Cost      snapshot.Cost // so far, or as recorded
	Looks     int           // earlier ones that a recording has
	Since     bool          // its one earlier look is another recording
}

// Fault turns an error of the operating system into the state and the words of
// an answer.
//
// ENODEV is kernfs for "the cgroup was removed while the file was open"
// (linux fs/kernfs/file.c, kernfs_get_active); ESRCH is procfs for a process
// that ended. EOPNOTSUPP is a pressure file of a kernel that runs without PSI.
func Fault(err error) (snapshot.State, string) {
	switch {
	case err == nil:
		return snapshot.Present, ""
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ESRCH):
		return snapshot.Absent, snapshot.Vanished
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return snapshot.Absent, "no such file"
	case errors.Is(err, syscall.EOPNOTSUPP):
		return snapshot.Absent, "not supported by this kernel as it was started"
	case errors.Is(err, fs.ErrPermission):
		return snapshot.Denied, "permission denied"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return snapshot.Failed, errno.Error()
	}
	return snapshot.Failed, err.Error()
}

// Value asks for a file and parses it. parse must be total: an error of its own
// makes the reading Failed.
func Value[T any](src Source, path string, max int, parse func([]byte) (T, error)) snapshot.Reading[T] {
	return Parsed(src.Ask(Question{Read, path, max}), path, parse)
}

// Parsed makes the answer about path a reading.
func Parsed[T any](a Answer, path string, parse func([]byte) (T, error)) snapshot.Reading[T] {
	r := snapshot.Reading[T]{State: a.State, Source: path, At: a.At, Err: a.Err}
	if a.State != snapshot.Present {
		return r
	}
	v, err := parse(a.Data)
	if err != nil {
		r.State, r.Err = snapshot.Failed, err.Error()
		return r
	}
	r.Value = v
	return r
}
