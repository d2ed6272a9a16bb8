// Package kernel owns the one door through which memwhy asks the kernel
// anything by file: read this file, list this directory, where does this link
// point. The same questions can be put to a running node, to a recording of one
// and to a plain directory tree, and the answers look the same.
//
// It must not know the format or the meaning of any file. It never writes.
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

// The three questions.
const (
	Read Op = "read" // the bytes of a file
	List Op = "list" // the names of the sub-directories (or of the entries of a recorded listing), each followed by a NUL
	Link Op = "link" // the text of a symbolic link
)

// Question asks one thing of the node. Path is absolute on the node, whatever
// prefix the node's root has here. Max bounds the answer: bytes for Read, names
// for List; more than that is a Failed answer, never a silently shorter one.
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

// Names splits the answer to List.
func (a Answer) Names() []string {
	s := strings.TrimSuffix(string(a.Data), "\x00")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\x00")
}

// Source answers questions. Its methods may be called concurrently.
type Source interface {
	Ask(Question) Answer
	Origin() Origin
}

// Origin says where answers come from.
type Origin struct {
	Replay    bool
	Generated time.Time     // when the answers were taken; zero when unknown
	PageSize  int64         // bytes
	Target    string        // what a capture was taken of; empty otherwise
	Cost      snapshot.Cost // so far, or as recorded
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
	a := src.Ask(Question{Read, path, max})
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
