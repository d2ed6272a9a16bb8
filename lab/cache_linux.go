package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const cacheCold = "cache.cold"

var fileOnce = Scenario{
	Name:    "file-once",
	Summary: "a file on a disk, written once, synced and closed",
	Finding: cacheCold,
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		t.cause(cacheCold, j.Bytes)
		return f.Close()
	},
}

var fileTwice = Scenario{
	Name:    "file-twice",
	Summary: "a file on a disk, read twice: active by the classic lists",
	Finding: cacheCold, // nobody was seen to use it, see cache.hot
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		t.cause(cacheCold, j.Bytes)
		path := f.Name()
		if err := errors.Join(f.Close(), serve(path), serve(path)); err != nil {
			return err
		}
		// Reads by descriptor do not move a page under MGLRU before reclaim looks
		// at it (linux mm/swap.c folio_mark_accessed, lru_gen_inc_refs).
		if multiGen() {
			t.Accounts[0].state("inactive", j.Bytes)
			return nil
		}
		t.Accounts[0].state("active", j.Bytes)
		return nil
	},
}

func multiGen() bool {
	b, err := os.ReadFile("/sys/kernel/mm/lru_gen/enabled")
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 64)
	return err == nil && n&1 != 0
}

var fileMapped = Scenario{
	Name:    "file-mapped",
	Summary: "a file on a disk, mapped, every page of it touched",
	Finding: "cache.hot",
	healthy: true,
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := mapped(f, j.Bytes); err != nil {
			return err
		}
		t.Accounts[0].state("mapped", j.Bytes)
		t.cause("cache.hot", j.Bytes)
		return nil
	},
}

var fileDeleted = Scenario{
	Name:    "file-deleted",
	Summary: "a file on a disk, deleted while it is open",
	Finding: "cache.deleted-open",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		f, err := t.written(j, j.Bytes, true)
		if err != nil {
			return err
		}
		keep = append(keep, f)
		t.Holders[0].Deleted = true
		t.counted("cache.deleted-open", j.Bytes)
		return os.Remove(f.Name())
	},
}

// keep holds what must stay open until the process ends.
var keep []*os.File

var fileDirty = Scenario{
	Name:    "file-dirty",
	Summary: "a file on a disk, written and not yet on the disk",
	Finding: "cache.dirty",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		// The kernel starts to write at 10 % of what could be cache
		// (vm.dirty_background_ratio), of the machine or of the cgroup.
		room, err := keyed("/proc/meminfo", "MemAvailable")
		if err != nil {
			return err
		}
		if j.Limit > 0 {
			room = min(room, j.Limit)
		}
		bytes := wholePages(min(j.Bytes, room/16))
		f, err := t.written(j, bytes, false)
		if err != nil {
			return err
		}
		keep = append(keep, f)
		t.Accounts[0].state("dirty", bytes)
		t.cause("cache.dirty", bytes)
		t.ToleranceBytes = max(bytes/10, 2<<20) // some may be on its way to the disk
		go stayDirty(f, bytes)
		return nil
	},
}

// stayDirty writes again what the kernel has written to the disk: it does after
// 30 seconds (vm.dirty_expire_centisecs).
func stayDirty(f *os.File, bytes int64) {
	for {
		time.Sleep(5 * time.Second)
		for at := int64(0); at < bytes; at += pageSize {
			if _, err := f.WriteAt([]byte{byte(at)}, at); err != nil {
				return
			}
		}
	}
}

// written makes the file that most scenarios have, and notes it.
func (t *Truth) written(j job, bytes int64, sync bool) (*os.File, error) {
	path := filepath.Join(j.WorkDir, "planted")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = fill(f, bytes); err == nil && sync {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.add("file", bytes)
	t.file("file", path, bytes)
	return f, nil
}
