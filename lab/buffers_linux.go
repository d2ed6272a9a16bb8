package lab

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	kernelOther = "kernel/other"
	kernelRest  = "kernel.other" // which part of it, no file of a cgroup says
)

var unixQueue = Scenario{
	Name:    "unix-queue",
	Summary: "unix sockets with data queued that nobody reads",
	Finding: "kernel.sock",
	plant: func(j job, t *Truth) error {
		// Up to 32 KiB the kernel puts the data of one write into whole pages and
		// nothing else (linux net/unix/af_unix.c UNIX_SKB_FRAGS_SZ).
		message := make([]byte, max(32<<10, pageSize))
		var queued int64
		for queued < j.Bytes {
			ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("socketpair: %w", err)
			}
			before := queued
			for _, fd := range ends {
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20) // else more sockets
				for queued < j.Bytes {
					n, err := unix.Write(fd, message)
					if errors.Is(err, unix.EAGAIN) {
						break
					}
					if err != nil {
						return fmt.Errorf("write to a unix socket: %w", err)
					}
					queued += int64(n)
				}
			}
			if queued == before {
				return errors.New("a unix socket takes no data")
			}
		}
		t.kernelPages(kernelRest, queued)
		return nil
	},
}

// kernelPages notes pages that the kernel took for this process.
func (t *Truth) kernelPages(code string, bytes int64) {
	t.add(kernelOther, bytes, withinKernel...)
	t.cause(code, bytes)
	t.process(kernelOther, bytes)
}

var pipeFull = Scenario{
	Name:    "pipe-full",
	Summary: "pipes filled with data that nobody reads",
	Finding: "kernel.pipe",
	plant: func(j job, t *Truth) error {
		page := make([]byte, pageSize)
		var filled int64
		for filled < j.Bytes {
			var fds [2]int
			if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
				return fmt.Errorf("pipe: %w", err)
			}
			_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, 1<<20) // else more pipes
			before := filled
			for filled < j.Bytes {
				n, err := unix.Write(fds[1], page)
				if errors.Is(err, unix.EAGAIN) {
					break
				}
				if err != nil {
					return fmt.Errorf("write to a pipe: %w", err)
				}
				filled += int64(n)
			}
			if filled == before {
				return errors.New("a pipe takes no data")
			}
		}
		t.kernelPages("kernel.pipe", filled)
		return nil
	},
}

var tcpUnread = Scenario{
	Name:    "tcp-unread",
	Summary: "TCP connections with received data that nobody reads",
	Finding: "kernel.sock",
	plant: func(j job, t *Truth) error {
		before, err := j.usage()
		if err != nil {
			return err
		}
		sockets, err := fillTCP(j.Bytes)
		if err != nil {
			return err
		}
		held, err := socketMemory(sockets)
		if err != nil {
			return err
		}
		after, err := j.usage()
		if err != nil {
			return err
		}
		// What the sockets hold is known; whether usage holds it, only by looking.
		if !j.V2 && after-before < held/2 {
			for _, fd := range sockets {
				unix.Close(fd)
			}
			t.NotHere = "cgroup v1 keeps TCP buffers in memory.kmem.tcp, which usage does not hold"
			return nil
		}
		t.add("sock", held, kernelOther) // each version 2 has the key
		t.process("sock", held)
		t.cause("kernel.sock", held)
		return nil
	},
}

// fillTCP makes connections and writes until bytes wait in receive queues.
func fillTCP(bytes int64) (sockets []int, err error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	sockets = append(sockets, listener)
	// Inherited by what is accepted, and it decides the window.
	_ = unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 16)); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	addr, err := unix.Getsockname(listener)
	if err != nil {
		return nil, err
	}
	for queued := int64(0); queued < bytes; {
		from, to, err := connect(listener, addr)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, from, to)
		n, err := writeAll(from, min(bytes-queued, 2<<20))
		if err != nil {
			return nil, err
		}
		queued += n
	}
	return sockets, nil
}

func connect(listener int, addr unix.Sockaddr) (from, to int, err error) {
	if from, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return 0, 0, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(from, addr); err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	// Accepted first: only then is the socket charged to this cgroup.
	if to, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("accept: %w", err)
	}
	return from, to, unix.SetNonblock(from, true)
}

func writeAll(fd int, bytes int64) (written int64, err error) {
	buf := make([]byte, 64<<10)
	for written < bytes {
		n, err := unix.Write(fd, buf[:min(int64(len(buf)), bytes-written)])
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return written, fmt.Errorf("write to a TCP socket: %w", err)
		}
		written += int64(n)
	}
	if written == 0 {
		return 0, errors.New("a TCP socket takes no data")
	}
	return written, nil
}
