package identity

import (
	"regexp"
	"strings"
)

// amount is a value that tells nothing but an amount or a switch.
var amount = regexp.MustCompile(`^(?i:[0-9]{1,12}(\.[0-9]{1,6})?([kmgt]i?b?|%)?|true|false|yes|no|on|off|auto)$`)

// Flags about memory: with the value in the same word, and with the value in the
// next.
var (
	joined = regexp.MustCompile(`^(-X(?:mx|ms|mn|ss))([0-9].*)$`)
	jvm    = regexp.MustCompile(`^-XX:[+-][A-Za-z0-9]*(Heap|Memory|RAM|Metaspace|Direct|CodeCache|GC|Page|Alloc)[A-Za-z0-9]*$`)
	assign = regexp.MustCompile(`^((?:-XX:|--?)?[A-Za-z][A-Za-z0-9._-]*)=(.*)$`)
	memory = regexp.MustCompile(`(?i)(heap|memory|maxram|initialram|minram|metaspace|directmemory|codecache|old-space|semi-space|stack-size|buffers?$|buffer[-_]pool|work_mem|effective_cache|cache[-_]?size|tmp_?table_?size|gomemlimit|gogc|^-m$)`)
)

// TrimCommand keeps argv[0] and flags about memory. Secrets live in command
// lines: a value is kept only where it is an amount or a switch, otherwise `...`
// stands for it. Trimming what is trimmed changes nothing.
func TrimCommand(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	kept := []string{title(args[0])}
	for i := 1; i < len(args); i++ {
		switch f := flag(args[i]); {
		case f != "":
			kept = append(kept, f)
		case len(args[i]) > 1 && args[i][0] == '-' && len(args[i]) < 64 && !strings.Contains(args[i], "=") && memory.MatchString(args[i]) &&
			bareFlag.MatchString(args[i]) && i+1 < len(args) && amount.MatchString(args[i+1]):
			kept = append(kept, args[i], args[i+1])
			i++
		}
	}
	return kept
}

var bareFlag = regexp.MustCompile(`^--?[A-Za-z][A-Za-z0-9_-]*$`)

// title is argv[0], which servers overwrite with what they are doing for whom.
func title(arg string) string {
	if i := strings.IndexAny(arg, ": \t\n"); i > 0 {
		return arg[:i]
	}
	return arg
}

// flag returns one word of a command line as it may be kept, or nothing.
func flag(arg string) string {
	if len(arg) > 128 {
		return ""
	}
	if m := joined.FindStringSubmatch(arg); m != nil && amount.MatchString(m[2]) {
		return arg
	}
	if jvm.MatchString(arg) {
		return arg
	}
	m := assign.FindStringSubmatch(arg)
	if m == nil || !memory.MatchString(m[1]) {
		return ""
	}
	if amount.MatchString(m[2]) {
		return arg
	}
	return m[1] + "=..."
}
