package snapshot

import "strings"

// Release is the kernel's release, of /proc/version where the file that has it
// alone was not read.
func (s *Snapshot) Release() (string, bool) {
	if r, ok := s.Host.Kernel.Get(); ok {
		return r, true
	}
	text, ok := s.Node.Version.Get()
	rest, is := strings.CutPrefix(text, "Linux version ")
	release, _, _ := strings.Cut(rest, " ")
	return release, ok && is && release != ""
}
