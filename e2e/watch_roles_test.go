package e2e

import (
	"path/filepath"
	"syscall"
	"time"
)

// Of what moves: so much a step, so often.
const (
	moves = 1 << 20
	step  = 100 * time.Millisecond
)

// move allocates in the way that is asked for, until the process ends.
func move(way, dir string) {
	mem := mapAnon(512<<20, syscall.MADV_NOHUGEPAGE)
	next := 0
	piece := func() []byte { next += moves; return mem[next-moves : next] }
	switch way {
	case "leak-mmap":
		forever(func(int) { touch(piece()) })
	case "leak-heap":
		forever(func(int) { brk(moves) })
	case "leak-copies":
		fd := create(filepath.Join(dir, "copied"), 64<<20)
		b, err := syscall.Mmap(fd, 0, 64<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
		must(err)
		forever(func(i int) { touch(b[min(i, 63)<<20:][:moves]) })
	case "plateau":
		forever(func(i int) {
			if i < 12 {
				touch(piece())
			}
		})
	case "sawtooth":
		forever(func(i int) {
			if touch(piece()); i%8 == 7 {
				must(syscall.Madvise(mem[:next], syscall.MADV_DONTNEED))
				next = 0
			}
		})
	case "churn":
		touch(mem[:32<<20])
		again := mem[64<<20 : 80<<20]
		for {
			touch(again)
			must(syscall.Madvise(again, syscall.MADV_DONTNEED))
			time.Sleep(time.Millisecond)
		}
	case "idle":
		must(syscall.Fsync(create(filepath.Join(dir, "left"), 64<<20)))
	case "reads":
		fd := create(filepath.Join(dir, "left"), 64<<20)
		must(syscall.Fsync(fd))
		buf := make([]byte, 1<<20)
		forever(func(i int) {
			for k := range 16 {
				_, err := syscall.Pread(fd, buf, int64((i*16+k)%64)<<20)
				must(err)
			}
		})
	}
}

func forever(do func(i int)) {
	for i := 0; ; i++ {
		do(i)
		time.Sleep(step)
	}
}
