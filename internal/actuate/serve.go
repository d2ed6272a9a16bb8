package actuate

import (
	"io"

	"github.com/memwhy/memwhy/internal/kernel"
)

// ServeGuardian is the life of the process that puts settings back when its caller
// dies: it waits until in ends.
func ServeGuardian(in io.Reader, out io.Writer) error { return ErrNotYet }

// ServeWriter is the life of the process that writes to the kernel, which may be
// given up at any time.
func ServeWriter(in io.Reader, out io.Writer) error { return ErrNotYet }

// NewMeter is a Meter of the files of cgroups, as src answers. With a foreign root
// the mount table is that of the node's first process.
func NewMeter(src kernel.Source, foreignRoot bool) Meter { return nil }
