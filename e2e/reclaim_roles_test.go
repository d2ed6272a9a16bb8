package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// caches reads files once, so that who runs it is charged for them.
func caches(files ...string) {
	for _, file := range files {
		f, err := os.Open(file)
		must(err)
		pass(f, 0)
		must(f.Close())
	}
}

// writes writes files one after the other, each to the disk, with a rest between them.
func writes(dir string, files, bytes int) {
	block := make([]byte, 1<<20)
	for i := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		must(err)
		for n := 0; n < bytes; n += len(block) {
			_, err := f.Write(block)
			must(err)
		}
		must(errors.Join(f.Sync(), f.Close()))
		time.Sleep(500 * time.Millisecond)
	}
}

// pass reads a file through, and rests between reads by so many times of what they
// took, so that others get the processor too.
func pass(f *os.File, rest time.Duration) {
	_, err := f.Seek(0, io.SeekStart)
	must(err)
	buf := make([]byte, 64<<10)
	start := time.Now()
	for i := 1; ; i++ {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			return
		} else {
			must(err)
		}
		if i%16 == 0 {
			time.Sleep(rest * time.Since(start))
			start = time.Now()
		}
	}
}

// rereads reads a file over and over: held open, opened for each pass, or, busier,
// deleted while it is open, so that only a knob of the cgroup can take its cache.
func rereads(how, file string) {
	f, err := os.Open(file)
	must(err)
	rest := time.Duration(6)
	if how == "deleted" {
		rest = 2
		must(os.Remove(file))
	}
	for i := 0; ; i++ {
		if how == "closing" && i > 0 {
			must(f.Close())
			f, err = os.Open(file)
			must(err)
		}
		pass(f, rest)
		if i == 3 {
			fmt.Println("ready")
		}
	}
}

// keepsDeleted reads a file once, deletes it and keeps it open.
func keepsDeleted(file string) {
	f, err := os.Open(file)
	must(err)
	pass(f, 0)
	must(os.Remove(file))
	held = f
}

var held *os.File // for the collector not to close

// parks deletes a file that nobody has open and that is there still: it is under way in a
// socket.
func parks(file string) {
	f, err := os.Open(file)
	must(err)
	must(os.Remove(file))
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Sendmsg(pair[0], []byte("x"), syscall.UnixRights(int(f.Fd())), nil, 0))
	must(f.Close())
}
