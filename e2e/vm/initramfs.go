package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// initramfs is a cpio archive of the newc format (linux
// Documentation/driver-api/early-userspace/buffer-format.rst) with init and the
// directories that it mounts on.
func initramfs(init []byte, modules []string) ([]byte, error) {
	var b bytes.Buffer
	ino := 0
	entry := func(name string, mode, rdev int, data []byte) {
		ino++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			ino, mode, 0, 0, 1, 0, len(data), 0, 0, rdev>>8, rdev&0xff, len(name)+1, 0, name)
		pad(&b)
		b.Write(data)
		pad(&b)
	}
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "disk", "var", "etc", "mnt", "modules"} {
		entry(dir, 0o040755, 0, nil)
	}
	entry("dev/console", 0o020600, 5<<8|1, nil)
	entry("etc/os-release", 0o100644, 0, []byte("PRETTY_NAME=\"memwhy test machine\"\n"))
	entry("init", 0o100755, 0, init)
	for _, file := range modules {
		module, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		entry("modules/"+filepath.Base(file), 0o100644, 0, module)
	}
	entry("TRAILER!!!", 0, 0, nil)
	return b.Bytes(), nil
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
