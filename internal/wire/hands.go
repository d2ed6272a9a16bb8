package wire

import (
	"io"

	"github.com/memwhy/memwhy/internal/actuate"
)

// ServeGuardian is the life of the process that puts settings back when its caller
// dies.
func ServeGuardian(in io.Reader, out io.Writer) error { return actuate.ServeGuardian(in, out) }

// ServeWriter is the life of the process that writes to the kernel.
func ServeWriter(in io.Reader, out io.Writer) error { return actuate.ServeWriter(in, out) }
