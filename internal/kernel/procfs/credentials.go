package procfs

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseCredentials finds the rights in /proc/PID/status (linux fs/proc/array.c):
// the second number of Uid is the effective one, the sets are hexadecimal.
func ParseCredentials(b []byte) (c snapshot.Credentials, err error) {
	uid, effective := false, false
	for line := range bytes.Lines(b) {
		key, value, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			if f := strings.Fields(value); len(f) == 4 {
				c.UID, uid = snapshot.Number(f[1])
			}
		case "CapEff":
			c.Effective, err = strconv.ParseUint(value, 16, 64)
			effective = err == nil
		case "CapBnd":
			c.Bounding, _ = strconv.ParseUint(value, 16, 64)
		case "NoNewPrivs":
			c.NoNewPrivs = value == "1"
		case "Seccomp":
			c.Seccomp = value == "2"
		}
	}
	if !uid || !effective {
		return c, errors.New("expected the lines Uid and CapEff")
	}
	return c, nil
}
