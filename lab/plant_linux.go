package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

var anonTouched = Scenario{
	Name:    "anon-touched",
	Summary: "private anonymous memory, every page written",
	Finding: "anon.live",
	Account: "anon/other",
	plant: func(j job) ([]Holder, error) {
		mem, err := syscall.Mmap(-1, 0, int(j.Bytes), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
		if err != nil {
			return nil, fmt.Errorf("map %d bytes: %w", j.Bytes, err)
		}
		for i := 0; i < len(mem); i += os.Getpagesize() {
			mem[i] = 1
		}
		return []Holder{{Kind: "process", Name: "memwhy", Account: "anon/other", Bytes: j.Bytes, PID: os.Getpid()}}, nil
	},
}

var fileOnce = Scenario{
	Name:    "file-once",
	Summary: "a file on a disk, written once, synced and closed",
	Finding: "cache.cold",
	Account: "file",
	needs:   disk,
	plant:   func(j job) ([]Holder, error) { return plantFile(j, "file", true) },
}

var tmpfsFile = Scenario{
	Name:    "tmpfs-file",
	Summary: "a file on tmpfs, written and closed",
	Finding: "tmpfs.held",
	Account: "shmem",
	needs:   tmpfs,
	plant:   func(j job) ([]Holder, error) { return plantFile(j, "shmem", false) },
}

func plantFile(j job, account string, sync bool) ([]Holder, error) {
	path := filepath.Join(j.WorkDir, "planted")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for i := range buf {
		buf[i] = byte(i)
	}
	for left := j.Bytes; left > 0; left -= int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), left)]
		if _, err := f.Write(buf); err != nil {
			return nil, err
		}
	}
	if sync {
		if err := f.Sync(); err != nil {
			return nil, err
		}
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return []Holder{{Kind: "file", Name: "planted", Account: account, Bytes: j.Bytes, Path: path}}, nil
}
