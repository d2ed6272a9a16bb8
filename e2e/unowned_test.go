package e2e

import (
	native "encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

const ringBytes = 192 << 20

// packetRing maps a ring that received packets would go to, none of which it asks for
// (linux include/uapi/linux/if_packet.h, PACKET_RX_RING and struct tpacket_req).
func packetRing() {
	const block, frame = 1 << 16, 1 << 11
	s, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	must(err)
	req := [4]uint32{block, ringBytes / block, frame, ringBytes / frame}
	_, _, e := syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(s), syscall.SOL_PACKET, 5, uintptr(unsafe.Pointer(&req)), unsafe.Sizeof(req), 0)
	mustCall(e)
	_, err = syscall.Mmap(s, 0, ringBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
}

// perfRings maps rings of 16 MiB and a page for events that never come (linux
// include/uapi/linux/perf_event.h: a disabled PERF_COUNT_SW_DUMMY).
func perfRings() {
	for range ringBytes >> 24 {
		attr := make([]byte, 64)
		native.NativeEndian.PutUint32(attr, 1)
		native.NativeEndian.PutUint32(attr[4:], uint32(len(attr)))
		native.NativeEndian.PutUint64(attr[8:], 9)
		attr[40] = 1
		fd, _, e := syscall.Syscall6(syscall.SYS_PERF_EVENT_OPEN, uintptr(unsafe.Pointer(&attr[0])), uintptr(os.Getpid()), ^uintptr(0), ^uintptr(0), 0, 0)
		mustCall(e)
		_, err := syscall.Mmap(int(fd), 0, 1<<24+os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		must(err)
	}
}

func mustCall(e syscall.Errno) {
	if e != 0 {
		panic(e)
	}
}

// Memory of the kernel that a process has mapped is in no account, and told: of the
// node, and of the cgroup that has the process, which is not charged for it. When it
// is gone, nothing is told.
func TestUnownedIsNamed(t *testing.T) {
	h := memory(t)
	for role, kind := range map[string]string{"packet-ring": "rings of packet sockets", "perf-ring": "rings of perf"} {
		t.Run(role, func(t *testing.T) {
			if fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0); role == "packet-ring" && err != nil {
				t.Skipf("this kernel has no packet sockets: %v", err)
			} else if err == nil {
				syscall.Close(fd)
			}
			before := seeNode(t, "--census", "off").Ledger.Unowned.Bytes
			cgroup, dir := h.group(t, unique(role))
			cmd := actorIn(t, nil, dir, role)
			pid := cmd.Process.Pid
			grew := seeNode(t, "--census", "off").Ledger.Unowned.Bytes - before
			if grew < ringBytes-(24<<20) || grew > ringBytes+(24<<20) {
				t.Errorf("memwhy node has %d more unowned, planted are %d", grew, ringBytes)
			}
			for target, null := range map[string]bool{"/": false, cgroup: true} {
				f, ok := findings(t, run(t, "explain", target, "-o", "json", "--census", "off").want(t, 0).out)["node.unowned"]
				if !ok || f.Severity != "info" || f.Confidence != "high" || !strings.Contains(f.Title, kind) || !strings.Contains(f.Title, fmt.Sprintf("(pid %d)", pid)) {
					t.Errorf("%s: %v %+v", target, ok, f)
				}
				if (f.Bytes == nil) != null {
					t.Errorf("%s: bytes %v", target, f.Bytes)
				} else if !null {
					near(t, role, *f.Bytes, ringBytes)
				}
			}
			if usage, _ := explain(t, cgroup, "--census", "off").Numbers["usageBytes"].(float64); usage == 0 || usage > ringBytes/2 {
				t.Errorf("the cgroup is charged %v: it should not be", usage)
			}
			checkScreen(t, run(t, "node", "--census", "off").want(t, 0).out)
			must(cmd.Process.Kill())
			_ = cmd.Wait()
			if f, ok := findings(t, run(t, "explain", "/", "-o", "json", "--census", "off").want(t, 0).out)["node.unowned"]; ok {
				t.Errorf("still told when it is gone: %+v", f)
			}
		})
	}
}
