package kernel

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// CachedFiles is the answer to Cached.
type CachedFiles struct {
	Files []CachedFile

	Entries   int64  // of directories that were looked at
	Refused   int64  // of them, what may not be opened, or whose cache is not for this user to know
	Elsewhere int64  // of them, on other mounts
	TooLarge  int64  // of them, files too large for mincore
	Mincore   int64  // files of which mincore told, which knows nothing of dirty pages
	Stopped   string // why it ended before all was seen; empty when it did not
}

// CachedFile is a regular file and what of it is in memory, whoever is charged.
type CachedFile struct {
	Device    uint32 // st_dev in the form of the kernel's s_dev: major << 20 | minor
	Inode     uint64
	Links     uint32
	Mode      uint16
	Size      int64
	Magic     uint32 // f_type of statfs(2)
	Bytes     int64
	Dirty     int64 // -1 when not told, as Writeback
	Writeback int64
	Path      string // below the directory that was asked about; empty for the file that was
}

// entryTime is what one entry of a directory may take when Cached is asked.
const entryTime = 50 * time.Microsecond

// maxCachedAnswer bounds an answer to Cached well within a frame.
const maxCachedAnswer = 32 << 20

// The lines of an answer to Cached end with a NUL, which no name holds: "f", the
// numbers of a CachedFile, its path; last "s", the counters, and why it stopped.

func (f *CachedFile) numbers() []int64 {
	return []int64{int64(f.Device), int64(f.Inode), int64(f.Links), int64(f.Mode), f.Size, int64(f.Magic), f.Bytes, f.Dirty, f.Writeback}
}

func (c *CachedFiles) counters() []*int64 {
	return []*int64{&c.Entries, &c.Refused, &c.Elsewhere, &c.TooLarge, &c.Mincore}
}

func appendCachedLine(b []byte, kind byte, numbers []int64, text string) []byte {
	b = append(b, kind, ' ')
	for _, n := range numbers {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	return append(append(b, text...), 0)
}

func (c *CachedFiles) encode(b []byte) []byte {
	for i := range c.Files {
		b = appendCachedLine(b, 'f', c.Files[i].numbers(), c.Files[i].Path)
	}
	var counters []int64
	for _, n := range c.counters() {
		counters = append(counters, *n)
	}
	return appendCachedLine(b, 's', counters, c.Stopped)
}

var errCached = errors.New("no answer about cached files")

// ParseCached parses the answer to Cached.
func ParseCached(b []byte) (CachedFiles, error) {
	var c CachedFiles
	ended := false
	for rest := string(b); rest != ""; {
		line, after, ok := strings.Cut(rest, "\x00")
		if !ok || ended {
			return c, errCached
		}
		rest = after
		switch {
		case strings.HasPrefix(line, "f "):
			n, path, ok := numbersOf(line[2:], 9)
			if !ok {
				return c, errCached
			}
			c.Files = append(c.Files, CachedFile{
				uint32(n[0]), uint64(n[1]), uint32(n[2]), uint16(n[3]), n[4], uint32(n[5]), n[6], n[7], n[8], path,
			})
		case strings.HasPrefix(line, "s "):
			into := c.counters()
			n, why, ok := numbersOf(line[2:], len(into))
			if !ok {
				return c, errCached
			}
			for i := range into {
				*into[i] = n[i]
			}
			c.Stopped, ended = why, true
		default:
			return c, errCached
		}
	}
	if !ended {
		return c, errCached
	}
	return c, nil
}

func numbersOf(line string, count int) (n []int64, text string, ok bool) {
	for range count {
		word, rest, found := strings.Cut(line, " ")
		v, err := strconv.ParseInt(word, 10, 64)
		if !found || err != nil {
			return nil, "", false
		}
		n, line = append(n, v), rest
	}
	return n, line, true
}
