package procfs

import (
	"bytes"
	"strings"
)

// ParseCmdline splits /proc/PID/cmdline into arguments, empty ones in the
// middle included. The file is the process's own memory: a process may have
// written anything there, NULs to pad it among others, so those at the end are
// no arguments. Kernel threads and zombies have none. The error is always nil.
func ParseCmdline(b []byte) ([]string, error) {
	b = bytes.TrimRight(b, "\x00")
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(string(b), "\x00"), nil
}
