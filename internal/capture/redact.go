package capture

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/kmsg"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Prepare returns the archive as it may be written: mount tables hold cgroup
// mounts only, unless there is a census whose files they name, and command lines argv[0] and memory-related flags unless
// withArgs. With redact, every name and path part that is not a public word is
// replaced by its HMAC under a key that exists only during this call.
func (a *Archive) Prepare(redact, withArgs bool) (*Archive, error) {
	p := &preparer{withArgs: withArgs, files: a.answers[censusKey].State == snapshot.Present, pageSize: a.Meta.PageSize}
	if redact {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, fmt.Errorf("make a redaction key: %w", err)
		}
		p.r = identity.NewRedactor(key)
	}
	out := &Archive{Meta: a.Meta, answers: make(map[key]kernel.Answer, len(a.answers))}
	out.Meta.Redacted = redact
	if redact {
		out.Meta.Target = p.r.Path(a.Meta.Target)
	}
	out.take(a, p)
	for _, look := range a.looks {
		prepared := out.begin(look.Meta.Generated)
		prepared.take(look, p)
	}
	return out, nil
}

// take takes over the answers of one look.
func (a *Archive) take(from *Archive, p *preparer) {
	for k, v := range from.answers {
		if nk, nv, keep := p.section(k, v); keep {
			a.answers[nk] = nv
		}
	}
}

type preparer struct {
	r        *identity.Redactor // nil without redaction
	withArgs bool
	files    bool // there is a census
	pageSize int64
}

var (
	processFile = regexp.MustCompile(`^/proc/(self|[0-9]+)/([a-z_]+)$`)
	openFile    = regexp.MustCompile(`^/proc/[0-9]+/fd/[0-9]+$`)
	position    = regexp.MustCompile(`^/proc/[0-9]+/fdinfo/[0-9]+$`)
	namespace   = regexp.MustCompile(`^/proc/[0-9]+/ns/[a-z]+$`)
	zram        = regexp.MustCompile(`^/sys/block/zram[0-9]+/mm_stat$`)
	cgroupFile  = regexp.MustCompile(`^(memory|cgroup|cpu|cpuacct|io|blkio)\.[a-z._]+$`)
)

// numeric files of the node hold keys and numbers that the kernel chose.
var numeric = map[string]bool{
	"/proc/meminfo": true, "/proc/vmstat": true, "/proc/zoneinfo": true, "/proc/buddyinfo": true, "/proc/cgroups": true,
	"/proc/pressure/memory": true, "/proc/sys/kernel/osrelease": true, "/proc/sys/fs/dentry-state": true,
	"/sys/kernel/mm/lru_gen/enabled": true, "/sys/devices/system/cpu/online": true,
	"/proc/sys/vm/overcommit_memory": true, "/proc/sys/vm/overcommit_ratio": true, "/proc/sys/vm/swappiness": true,
	"/proc/sys/vm/min_free_kbytes": true, "/proc/sys/vm/watermark_scale_factor": true,
	"/sys/kernel/mm/transparent_hugepage/enabled": true, "/sys/module/zswap/parameters/enabled": true,
}

// section prepares one answer. With redaction only files whose content is known
// to be free of names, or is rewritten here, are kept.
func (p *preparer) section(k key, a kernel.Answer) (key, kernel.Answer, bool) {
	if k.op == kernel.Log {
		return k, p.log(a), true
	}
	if m := processFile.FindStringSubmatch(k.path); m != nil {
		if p.r != nil {
			a.Err = publicErr(a.Err)
		}
		a.Data = p.process(k.op, m[2], a.Data)
		return k, a, true
	}
	if k.op == kernel.Stat && openFile.MatchString(k.path) { // keys and numbers
		a.Err = publicErr(a.Err)
		return k, a, true
	}
	if position.MatchString(k.path) { // the same, but for what is no regular file
		a.Data, a.Err = onlyLines(a.Data, "pos:", "flags:", "map_type:", "map_flags:", "memlock:", "map_id:"), publicErr(a.Err)
		return k, a, true
	}
	if p.r == nil || numeric[k.path] || zram.MatchString(k.path) || k.path == "/proc/self/ns/cgroup" { // a number
		return k, a, true
	}
	if k == censusKey && a.State == snapshot.Present {
		var err error
		a.Data, err = p.redactCensus(a.Data)
		return k, a, err == nil
	}
	if namespace.MatchString(k.path) {
		return k, a, true
	}
	if k.op == kernel.Link { // of a layer of an image
		a.Data = []byte(p.r.Path(string(a.Data)))
		return key{k.op, p.r.Path(k.path)}, a, true
	}
	if a.State != snapshot.Present {
		a.Err = publicErr(a.Err)
	}
	if k.op == kernel.Containers {
		return p.containers(k, a)
	}
	switch k.path {
	case "/proc/slabinfo":
		a.Data = p.slabinfo(a.Data)
		return k, a, true
	case "/proc/swaps":
		a.Data = p.firstWords(a.Data)
		return k, a, true
	case "/proc/cmdline":
		a.Data = bootArgs(a.Data)
		return k, a, true
	case "/proc/version":
		a.Data = builder.ReplaceAll(a.Data, nil)
		return k, a, true
	case "/etc/os-release", "/usr/lib/os-release":
		a.Data = onlyLines(a.Data, "ID=", "VERSION_ID=", "PRETTY_NAME=")
		return k, a, true
	}
	if k.op == kernel.Marks { // texts and versions that memwhy chose to look for
		a.Err = publicErr(a.Err)
		return k, a, true
	}
	if k.path == "/sys/kernel/slab" {
		a.Data = p.slabNames(a.Data)
		return k, a, true
	}
	if k.op == kernel.List && k.path == "/proc" {
		a.Data = numbersOf(a.Names())
		return k, a, true
	}
	if k.op == kernel.List {
		return key{k.op, p.r.Path(k.path)}, p.names(a), true
	}
	if base := path.Base(k.path); cgroupFile.MatchString(base) {
		if strings.HasSuffix(base, "slabinfo") {
			a.Data = p.slabinfo(a.Data)
		}
		return key{k.op, path.Join(p.r.Path(path.Dir(k.path)), base)}, a, true
	}
	return k, a, false
}

// log leaves of the kernel's log what is about memory that could not be had. With
// redaction, which could not tell names from words in a line, only its records.
func (p *preparer) log(a kernel.Answer) kernel.Answer {
	switch {
	case a.State != snapshot.Present:
		a.Err = publicErr(a.Err)
	case p.r == nil:
		a.Data = kmsg.Keep(a.Data)
	default:
		doc, err := kmsg.Hide(a.Data, p.pageSize, p.r.Path, p.r.Name)
		if err != nil {
			return kernel.Answer{State: snapshot.Failed, Err: "failed", At: a.At}
		}
		a.Data = doc
	}
	return a
}

// publicErr keeps the words of memwhy and of the operating system, never a
// parse error that quotes content.
func publicErr(err string) string {
	if eio := "input/output error"; strings.Contains(strings.ToLower(err), eio) {
		return eio // how old kernels say that kernel memory is not accounted
	}
	if strings.ContainsAny(err, `"/`) {
		return "failed"
	}
	return err
}

// numbersOf are the processes of a list of /proc, which have nobody's names.
func numbersOf(names []string) (out []byte) {
	for _, n := range names {
		if _, err := strconv.ParseUint(n, 10, 32); err == nil {
			out = append(append(out, n...), 0)
		}
	}
	return out
}

func (p *preparer) names(a kernel.Answer) kernel.Answer {
	if a.State != snapshot.Present {
		return a
	}
	var b []byte
	for _, n := range a.Names() {
		b = append(append(b, p.r.Path(n)...), 0)
	}
	a.Data = b
	return a
}

func (p *preparer) process(op kernel.Op, name string, data []byte) []byte {
	switch name {
	case "mountinfo":
		return p.mountinfo(data)
	case "cmdline":
		return p.cmdline(data)
	case "environ": // whoever wrote the archive
		return identity.MemoryEnviron(data)
	case "mem":
		if op == kernel.Heaps { // numbers, and words of runtimes
			return data
		}
		return nil
	}
	if p.r == nil {
		return data
	}
	switch name {
	case "status":
		return p.status(data)
	case "cgroup":
		return p.membership(data)
	case "stat":
		return p.times(data)
	case "io":
		return data
	case "comm":
		return []byte(p.r.Name(strings.TrimSuffix(string(data), "\n")) + "\n")
	case "exe":
		if op == kernel.Marks {
			return data
		}
		if op == kernel.BuildInfo {
			return data[:min(len(data), goVersionEnd(data))]
		}
		return []byte(p.file(string(data)))
	case "maps", "smaps", "smaps_rollup":
		return p.mappings(data)
	case "fd":
		if op == kernel.Pipes { // numbers
			return data
		}
		return p.links(data)
	}
	return nil
}

// mountinfo keeps cgroup mounts: what else is mounted is nobody's business, but
// for the files of a census. Of the options, which can hold secrets, only those of
// cgroups and the directories of overlays stay.
func (p *preparer) mountinfo(data []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(data) {
		head, tail, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " - ")
		f := strings.SplitN(head, " ", 7)
		t := strings.SplitN(tail, " ", 3)
		cgroup := strings.HasPrefix(tail, "cgroup")
		if !ok || len(f) < 6 || len(t) < 3 || !cgroup && !p.files {
			continue
		}
		f[5] = "rw"
		switch {
		case t[0] == "overlay":
			t[2] = p.layers(t[2])
		case !cgroup:
			t[2] = "rw"
		case p.r != nil:
			t[2] = p.options(t[2])
		}
		if p.r != nil {
			t[0], _, _ = strings.Cut(t[0], ".") // whoever mounts a fuse file system names it
			for _, s := range []*string{&f[3], &f[4], &t[1]} {
				*s = p.r.Path(snapshot.Unescape([]byte(*s)))
			}
		}
		out.WriteString(strings.Join(f[:6], " ") + " - " + strings.Join(t, " ") + "\n")
	}
	return out.Bytes()
}

// layers keeps the directories of an overlay.
func (p *preparer) layers(list string) string {
	var kept []string
	for option := range strings.SplitSeq(list, ",") {
		key, value, _ := strings.Cut(option, "=")
		if key != "upperdir" && !strings.HasPrefix(key, "lowerdir") && key != "datadir+" {
			continue
		}
		if p.r != nil {
			dirs := strings.Split(value, ":")
			for i, dir := range dirs {
				dirs[i] = p.r.Path(snapshot.Unescape([]byte(dir)))
			}
			value = strings.Join(dirs, ":")
		}
		kept = append(kept, key+"="+value)
	}
	return strings.Join(kept, ",")
}

// options redacts the values of a list of options: rw,name=NAME.
func (p *preparer) options(list string) string {
	words := strings.Split(list, ",")
	for i, w := range words {
		if key, value, ok := strings.Cut(w, "="); ok {
			words[i] = key + "=" + p.r.Path(value)
		}
	}
	return strings.Join(words, ",")
}

func (p *preparer) cmdline(data []byte) []byte {
	if p.withArgs || len(data) == 0 {
		return data
	}
	args := identity.TrimCommand(strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"))
	if p.r != nil {
		args = p.r.Command(args)
	}
	if len(args) == 0 {
		return nil
	}
	return []byte(strings.Join(args, "\x00") + "\x00")
}

// times hides the name, which ends with the last parenthesis.
func (p *preparer) times(data []byte) []byte {
	begin, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if begin < 0 || end < begin {
		return nil
	}
	return slices.Concat(data[:begin+1], []byte(p.r.Name(string(data[begin+1:end]))), data[end:])
}

// status keeps the lines that are read, the name among them as its hash.
func (p *preparer) status(data []byte) []byte {
	kept := onlyLines(data, "Name:", "State:", "Tgid:", "Pid:", "PPid:", "Threads:", "Kthread:", "Vm", "Rss", "Hugetlb")
	var out bytes.Buffer
	for line := range bytes.Lines(kept) {
		if name, ok := bytes.CutPrefix(line, []byte("Name:\t")); ok {
			line = []byte("Name:\t" + p.r.Name(strings.TrimSuffix(string(name), "\n")) + "\n")
		}
		out.Write(line)
	}
	return out.Bytes()
}

func (p *preparer) membership(data []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(data) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) == 3 {
			out.WriteString(f[0] + ":" + p.options(f[1]) + ":" + p.r.Path(f[2]) + "\n")
		}
	}
	return out.Bytes()
}

// clone is the suffix of a per-cgroup slab cache of an old kernel,
// `dentry(101:NAME)`.
var clone = regexp.MustCompile(`\((\d+):(.*)\)`)

func (p *preparer) slabinfo(data []byte) []byte {
	return clone.ReplaceAllFunc(data, func(m []byte) []byte {
		f := clone.FindSubmatch(m)
		return []byte("(" + string(f[1]) + ":" + p.r.Path(string(f[2])) + ")")
	})
}

// slabNames rewrites a listing of /sys/kernel/slab: a clone's cgroup gets the
// hash that the last part of its path gets elsewhere.
func (p *preparer) slabNames(data []byte) []byte {
	names := bytes.Split(data, []byte{0})
	for i, n := range names {
		names[i] = p.slabinfo(n)
	}
	return bytes.Join(names, []byte{0})
}

// firstWords hashes the first word of each line but the heading: the device or
// file of a swap area.
func (p *preparer) firstWords(data []byte) []byte {
	var out bytes.Buffer
	first := true
	for line := range bytes.Lines(data) {
		word, rest, ok := strings.Cut(string(line), " ")
		if !first && ok {
			line = []byte(p.r.Path(word) + " " + rest)
		}
		first = false
		out.Write(line)
	}
	return out.Bytes()
}

func onlyLines(data []byte, prefixes ...string) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(data) {
		for _, p := range prefixes {
			if bytes.HasPrefix(line, []byte(p)) {
				out.Write(line)
				break
			}
		}
	}
	return out.Bytes()
}

// builder is the user@host and the compiler that /proc/version names.
var builder = regexp.MustCompile(`\([^()]*@[^()]*\) ?`)

// bootArgs keeps the boot options that change how memory is managed.
func bootArgs(data []byte) []byte {
	var kept []string
	for _, w := range strings.Fields(string(data)) {
		for _, p := range []string{
			"cgroup", "swapaccount", "psi", "mem=", "hugepage", "default_hugepagesz", "transparent_hugepage",
			"zswap", "slab", "slub", "numa", "systemd.unified_cgroup_hierarchy", "systemd.legacy_systemd_cgroup_controller", "lru_gen", "percpu",
		} {
			if strings.HasPrefix(w, p) {
				kept = append(kept, w)
				break
			}
		}
	}
	return []byte(strings.Join(kept, " ") + "\n")
}
