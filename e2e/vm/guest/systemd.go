//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// service is this program again, when systemd has come up.
const service = `[Unit]
Description=Tests
[Service]
Type=exec
ExecStart=/usr/bin/guest
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
`

// systemd makes the disk "root" the root, with this program on it, and starts
// the systemd that is there: only what the service needs.
func systemd() error {
	dev, err := disk("root")
	if err != nil {
		return err
	}
	const root = "/mnt"
	if err := syscall.Mount(dev, root, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", dev, err)
	}
	self, err := os.ReadFile("/init")
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(root+"/usr/bin/guest", self, 0o755),
		os.WriteFile(root+"/etc/systemd/system/tests.service", []byte(service), 0o644),
		os.Chdir(root),
		syscall.Mount(".", "/", "", syscall.MS_MOVE, ""),
		syscall.Chroot("."),
		os.Chdir("/"),
	); err != nil {
		return err
	}
	return syscall.Exec("/usr/lib/systemd/systemd", []string{"systemd", "--unit=tests.service", "--show-status=0"}, []string{"PATH=/usr/bin:/usr/sbin"})
}
