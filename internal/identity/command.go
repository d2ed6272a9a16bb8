package identity

import (
	"path"
	"regexp"
	"strings"
	"unicode"
)

// TrimCommand keeps the first word of a command line and the flags about memory.
// Secrets live in command lines: a flag is kept only if it is known, and a value
// only where it is an amount or a switch; `...` stands for another one. What is
// left out leaves no mark, and trimming what is trimmed changes nothing.
//
// The first word is kept whole up to a colon or a space: servers overwrite it
// with what they are doing for whom. It may be a path.
func TrimCommand(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	kept := []string{title(args[0])}
	_, program := path.Split(kept[0])
	for i := 1; i < len(args); i++ {
		if word := flag(args[i], program); word != "" {
			kept = append(kept, word)
			continue
		}
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		words := pair(args[i], next, program)
		kept = append(kept, words...)
		i += max(len(words)-1, 0)
	}
	return kept
}

// amount is a value that tells nothing but an amount or a switch.
var amount = regexp.MustCompile(`^(?i:-?[0-9]{1,13}(\.[0-9]{1,6})?(([kmgtp]i?)?b?|%)` +
	`|true|false|yes|no|on|off|auto|always|never|try|max|none|unlimited|infinity|summary|detail)$`)

var (
	// stuck are flags of the JVM whose amount follows without anything between.
	stuck = regexp.MustCompile(`^-X(mx|ms|mn|ss)([0-9]{1,13}[kKmMgGtT]?)$`)
	// jvm are the names that HotSpot has for what is about memory.
	jvm = regexp.MustCompile(`^-XX:([+-]?)(?:[A-Z][A-Za-z0-9]{0,48})?` +
		`(?:Heap|Memory|RAM|Metaspace|Direct|CodeCache|GC|Pages|Alloc|PreTouch|StackSize|NewSize|NewRatio)[A-Za-z0-9]{0,48}$`)
	// memcached takes its one flag in each way that getopt knows.
	memcached = regexp.MustCompile(`^-m[0-9]{1,9}$`)
)

// flags are the flags that are followed by an amount, behind = or as the next
// word, in lower case and with dashes only.
var flags = words(`
	max-old-space-size max-semi-space-size max-heap-size max-old-generation-size stack-size
	maxmemory maxmemory-policy maxmemory-clients
	memory memory-limit memory-limit-mb mem-limit max-memory memory-swap memory-reservation memory-swappiness heap-size cache-size
	max-memory-per-child max-server-memory-usage max-memory-usage memory.allowedpercent memory.allowedbytes
	cache-max-memory-size quota-backend-bytes
	wiredtigercachesizegb wiredtigercachesizepct
	innodb-buffer-pool-size innodb-log-buffer-size key-buffer-size query-cache-size tmp-table-size max-heap-table-size
	sort-buffer-size join-buffer-size read-buffer-size
	shared-buffers work-mem maintenance-work-mem autovacuum-work-mem effective-cache-size temp-buffers wal-buffers huge-pages`)

// settings are words that assign without a dash: options of a server behind -c
// or -d, variables that env sets. properties are those of the JVM, behind -D.
var (
	settings = words(`
		shared-buffers work-mem maintenance-work-mem autovacuum-work-mem effective-cache-size temp-buffers wal-buffers huge-pages
		memory-limit gogc gomemlimit malloc-arena-max malloc-trim-threshold- malloc-mmap-threshold- malloc-top-pad-`)
	properties = words(`io.netty.maxdirectmemory jdk.nio.maxcachedbuffersize`)
)

// flag returns a word that stands for itself as it may be kept, or nothing.
func flag(arg, program string) string {
	if stuck.MatchString(arg) || program == "memcached" && memcached.MatchString(arg) {
		return arg
	}
	name, value, assigned := strings.Cut(arg, "=")
	if m := jvm.FindStringSubmatch(name); m != nil {
		if (m[1] == "") != assigned { // either switched by + or -, or assigned
			return ""
		}
	} else if !assigned || !known(name) {
		return ""
	}
	if !assigned || isAmount(value) {
		return arg
	}
	return name + "=..."
}

// known reports whether name may stand before an equals sign.
func known(name string) bool {
	if property, ok := strings.CutPrefix(name, "-D"); ok {
		return properties[plainFlag(property)]
	}
	return isFlag(name) || settings[plainFlag(name)]
}

// isFlag reports whether arg is a flag about memory without a value.
func isFlag(arg string) bool {
	name, ok := strings.CutPrefix(arg, "-")
	return ok && flags[plainFlag(strings.TrimPrefix(name, "-"))]
}

// plainFlag is a name as the tables have it. Letters that are not ASCII stay as
// they are, so that none of them folds into one that is.
func plainFlag(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '_':
			return '-'
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

func isAmount(value string) bool {
	return amount.MatchString(value) && !strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII })
}

// pair returns the words to keep of a flag and the word behind it, if that is its
// value. What cannot be a value is left to be looked at as a word of its own.
func pair(arg, next, program string) []string {
	switch {
	case arg == "-c", arg == "-d":
		if name, _, ok := strings.Cut(next, "="); ok && settings[plainFlag(name)] {
			return []string{arg, flag(next, program)}
		}
	case isFlag(arg), program == "memcached" && arg == "-m":
		if isAmount(next) {
			return []string{arg, next}
		}
		if arg != "-m" {
			return []string{arg + "=..."}
		}
	}
	return nil
}

// title is argv[0] without what its process adds to it.
func title(arg string) string {
	if i := strings.IndexFunc(arg, func(r rune) bool { return r == ':' || unicode.IsSpace(r) }); i >= 0 {
		return arg[:i]
	}
	return arg
}
