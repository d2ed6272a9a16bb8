package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketMemory sums what the sockets say of themselves: received, waiting to be
// sent, and reserved. In whole pages this is what the kernel charges.
func socketMemory(sockets []int) (sum int64, err error) {
	for _, fd := range sockets {
		var info [9]uint32
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return 0, fmt.Errorf("SO_MEMINFO: %w", errno)
		}
		sum += int64(info[unix.SK_MEMINFO_RMEM_ALLOC]) + int64(info[unix.SK_MEMINFO_FWD_ALLOC]) + int64(info[unix.SK_MEMINFO_WMEM_QUEUED])
	}
	return sum, nil
}

// loopbackUp sees to a loopback device: where nobody switched it on, in a network
// namespace of this thread's own.
func loopbackUp() error {
	up, err := loopback(false)
	if err != nil || up {
		return err
	}
	runtime.LockOSThread() // for ever
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	_, err = loopback(true)
	return err
}

// loopback says whether the device is on, and switches it on.
func loopback(on bool) (up bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return false, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return false, fmt.Errorf("look at lo: %w", err)
	}
	if on {
		req.SetUint16(req.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
			return false, fmt.Errorf("switch lo on: %w", err)
		}
	}
	return req.Uint16()&unix.IFF_UP != 0, nil
}
