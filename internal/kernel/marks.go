package kernel

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"io"
	"slices"
	"strings"
)

// Texts that a Marks question looks for in an executable. The files of Go's
// standard build information name tags, those before it only sources.
const (
	TextKmemOff  = "kernel memory accounting disabled in this runc build"
	TextKmemFile = "kmem_disabled.go" // a source of runc's library, with the tag nokmem
	TextKmemOn   = "cgroups/fs/kmem.go"
	TextTag      = "-tags=nokmem" // not a text of the file but a build setting
)

var markTexts = []string{TextKmemOff, TextKmemFile, TextKmemOn}

// searchMarks streams at most max bytes of an executable and gives lines: "text
// TEXT" for each text that is in it, "go VERSION" and "settings" when Go's build
// information says with what it was built, and "text -tags=nokmem" for that.
func searchMarks(f io.ReaderAt, size int64, max int) ([]byte, error) {
	if size > int64(max) {
		return nil, errors.New("the executable is larger than what is searched")
	}
	found, err := streamSearch(io.NewSectionReader(f, 0, size), markTexts)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if info, err := buildinfo.Read(io.NewSectionReader(f, 0, size)); err == nil {
		out.WriteString("go " + word(info.GoVersion) + "\n")
		if len(info.Settings) > 0 {
			out.WriteString("settings\n")
		}
		for _, s := range info.Settings {
			if s.Key == "-tags" && slices.Contains(strings.FieldsFunc(s.Value, func(r rune) bool { return r == ',' || r == ' ' }), "nokmem") {
				out.WriteString("text " + TextTag + "\n")
			}
		}
	}
	for _, text := range found {
		out.WriteString("text " + text + "\n")
	}
	return out.Bytes(), nil
}

// word is the first word of what an executable says of itself, bounded.
func word(s string) string {
	f := strings.Fields(s)
	if len(f) == 0 {
		return "unknown"
	}
	return f[0][:min(len(f[0]), 32)]
}

// streamSearch says which texts are in r, in their order, without keeping r.
func streamSearch(r io.Reader, texts []string) ([]string, error) {
	const window = 256 << 10
	keep := 0
	for _, t := range texts {
		keep = max(keep, len(t)-1)
	}
	seen := make([]bool, len(texts))
	buf := make([]byte, keep+window)
	have := 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		for i, t := range texts {
			seen[i] = seen[i] || bytes.Contains(buf[:have], []byte(t))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if have > keep {
			copy(buf, buf[have-keep:have])
			have = keep
		}
	}
	var found []string
	for i, t := range texts {
		if seen[i] {
			found = append(found, t)
		}
	}
	return found, nil
}
