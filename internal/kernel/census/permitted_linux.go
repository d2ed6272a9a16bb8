package census

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// permitted says what is missing before the kernel does with EPERM: all of it, in
// one refusal.
func permitted() error {
	if missing := missingRights("/proc"); len(missing) > 0 {
		return &Refusal{ErrPrivilege, "rights", "needs " + strings.Join(missing, ", "), nil}
	}
	if b, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil && bytes.Contains(b, []byte("[confidentiality]")) {
		return &Refusal{ErrPrivilege, "lockdown", "confidentiality mode forbids BPF to read kernel memory", nil}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil && strings.HasPrefix(unix.ByteSliceToString(u.Release[:]), "5.11.") {
		return &Refusal{ErrKernel, gateLayout, "5.11 marks kernel pages in a way that its type information does not tell", nil}
	}
	return nil
}

// missingRights reads them from a mounted proc. CAP_SYS_ADMIN implies the other two
// and is needed for the numbers of page frames.
func missingRights(proc string) (missing []string) {
	status, err := os.ReadFile(proc + "/self/status")
	if err != nil {
		return []string{"/proc (" + err.Error() + ")"}
	}
	var effective uint64
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			_, _ = fmt.Sscanf(strings.TrimSpace(hex), "%x", &effective)
		}
	}
	if effective>>unix.CAP_SYS_ADMIN&1 == 0 {
		for _, c := range []struct {
			bit  int
			name string
		}{{unix.CAP_BPF, "CAP_BPF (programs in the kernel)"}, {unix.CAP_PERFMON, "CAP_PERFMON (reading kernel memory)"}} {
			if effective>>c.bit&1 == 0 {
				missing = append(missing, c.name)
			}
		}
		missing = append(missing, "CAP_SYS_ADMIN (numbers of page frames)")
	}
	if inner, err := os.ReadFile(proc + "/self/uid_map"); err == nil && strings.Join(strings.Fields(string(inner)), " ") != "0 0 4294967295" {
		missing = append(missing, "the initial user namespace (in another one capabilities do not count)")
	}
	for _, file := range []string{"/iomem", "/zoneinfo", "/self/pagemap", "/vmstat", "/meminfo"} {
		if f, err := os.Open(proc + file); err != nil {
			missing = append(missing, "/proc"+file+" ("+errno(err)+")")
		} else {
			f.Close()
		}
	}
	return missing
}

func errno(err error) string {
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// possibleNodes is how many NUMA nodes there can be; 0 when that is not told or
// more than the list of cgroups looks at.
func possibleNodes() uint64 {
	b, err := os.ReadFile("/sys/devices/system/node/possible")
	if err != nil {
		return 0
	}
	var first, last uint64
	switch n, _ := fmt.Sscanf(strings.TrimSpace(string(b)), "%d-%d", &first, &last); {
	case n == 1:
		return first + 1
	case n == 2 && last < 16:
		return last + 1
	}
	return 0
}
