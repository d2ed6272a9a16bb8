package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const slabReclaimable = "kernel/slab-reclaimable"

// A name of this length does not fit into a dentry: it is an object of its own,
// of this size (linux fs/dcache.c external_name, a header of 16 bytes).
const (
	longName       = 240
	longNameObject = 512
)

// nameBytes is what one name costs: a dentry and the long name beside it.
func nameBytes() (int64, error) {
	dentry, err := slabSize("dentry")
	return dentry + longNameObject + 2*objectPointer, err
}

// eachName calls f with unique names in dir until their dentries hold bytes.
func eachName(dir string, bytes int64, f func(path string) error) (planted int64, err error) {
	each, err := nameBytes()
	if err != nil {
		return 0, err
	}
	enough := slow()
	for i := 0; planted < bytes && !enough(planted); i++ {
		name := fmt.Sprintf("%08d", i)
		if err := f(filepath.Join(dir, name+strings.Repeat("n", longName-len(name)))); err != nil {
			return 0, err
		}
		planted += each
	}
	return planted, nil
}

// dentries notes dentries of names of nothing, which no process holds.
func (t *Truth) dentries(bytes int64) error {
	t.add(slabReclaimable, bytes, withinSlab...)
	t.ToleranceBytes = smallTolerance(bytes)
	// Before 4.20 long names are in the caches that everything is in.
	if _, err := slabSize("kmalloc-rcl-512"); err != nil {
		return nil
	}
	each, err := nameBytes()
	if err != nil {
		return err
	}
	exist, err := existing()
	if err != nil {
		return err
	}
	// That they are of nothing is proven where they are more than there are names of
	// files. Near to half of that it is chance what a look sees.
	switch planted := bytes / each; {
	case 5*planted > 12*exist:
		t.counted("slab.dentry-negative", bytes)
	case 5*planted < 8*exist:
		t.counted("slab.dentry", bytes)
	}
	return nil
}

// existing is how many names of files that exist the kernel of the node remembers.
func existing() (int64, error) {
	b, err := os.ReadFile("/proc/sys/fs/dentry-state")
	if err != nil {
		return 0, err
	}
	var all, unused, age, want, negative int64
	if _, err := fmt.Sscan(string(b), &all, &unused, &age, &want, &negative); err != nil {
		return 0, fmt.Errorf("/proc/sys/fs/dentry-state: %q: %w", b, err)
	}
	return all - negative, nil
}

var tempNames = Scenario{
	Name:    "temp-names",
	Summary: "unique names, made and removed again: their dentries stay",
	Finding: "slab.dentry-negative",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		// Names of one file: making and removing one each time takes three times as
		// long, and leaves the same.
		one := filepath.Join(j.WorkDir, "one")
		if err := unix.Mknod(one, unix.S_IFREG|0o600, 0); err != nil {
			return fmt.Errorf("make a file: %w", err)
		}
		planted, err := eachName(j.WorkDir, j.Bytes, func(path string) error {
			return errors.Join(unix.Link(one, path), unix.Unlink(path))
		})
		return errors.Join(err, t.dentries(planted))
	},
}

var missingNames = Scenario{
	Name:    "missing-names",
	Summary: "lookups of files that do not exist: negative dentries",
	Finding: "slab.dentry-negative",
	needs:   disk,
	plant: func(j job, t *Truth) error {
		var st unix.Stat_t
		planted, err := eachName(j.WorkDir, j.Bytes, func(path string) error {
			if err := unix.Lstat(path, &st); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("look for %s: %w", path, err)
			}
			return nil
		})
		return errors.Join(err, t.dentries(planted))
	},
}

var manyInodes = Scenario{
	Name:    "many-inodes",
	Summary: "many empty files on tmpfs: inodes and dentries",
	Finding: "slab.inode",
	needs:   tmpfs,
	plant: func(j job, t *Truth) error {
		inode, err := slabSize("shmem_inode_cache")
		if err != nil {
			return err
		}
		dentry, err := slabSize("dentry")
		if err != nil {
			return err
		}
		inode, dentry = inode+objectPointer, dentry+objectPointer
		enough := slow()
		n := int64(0)
		for ; n*(inode+dentry) < j.Bytes && !enough(n*(inode+dentry)); n++ {
			if err := unix.Mknod(filepath.Join(j.WorkDir, fmt.Sprintf("%08d", n)), unix.S_IFREG|0o600, 0); err != nil {
				return fmt.Errorf("make file %d: %w", n, err)
			}
		}
		t.add("kernel/slab-unreclaimable", n*inode, withinSlab...)
		t.add(slabReclaimable, n*dentry, withinSlab...)
		t.ToleranceBytes = smallTolerance(t.planted())
		t.counted("slab.inode", n*inode)
		return nil
	},
}
