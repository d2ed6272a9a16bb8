// Package kversion owns kernel release strings: who built a kernel, what it is
// based on, and which of two builds of one vendor is the later one. It must not
// know what any version is affected by. It is pure.
//
// A release that looks like nobody's is Custom: its numbers say what it was
// based on, not what is in it.
package kversion

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Vendor is who built a kernel, as far as its release says.
type Vendor string

// The vendors. Custom is everybody else.
const (
	Upstream   Vendor = "upstream" // kernel.org, mainline or stable
	EL6        Vendor = "el6"
	EL7        Vendor = "el7"
	EL8        Vendor = "el8"
	EL9        Vendor = "el9"
	EL10       Vendor = "el10"
	UEK        Vendor = "uek"
	Ubuntu     Vendor = "ubuntu"
	Debian     Vendor = "debian"
	Amazon2    Vendor = "amzn2"
	Amazon2023 Vendor = "amzn2023"
	Alibaba    Vendor = "alinux"
	Custom     Vendor = "custom"
)

// Vendors are all of them.
func Vendors() []Vendor {
	return []Vendor{Upstream, EL6, EL7, EL8, EL9, EL10, UEK, Ubuntu, Debian, Amazon2, Amazon2023, Alibaba, Custom}
}

// Version is a release, taken apart.
type Version struct {
	Vendor Vendor
	Base   [3]int // what it is based on: 3.10.0
	Build  []int  // the vendor's own numbers: 1062.18.1; empty for upstream
	RC     int    // of a release candidate of upstream; 0 for a release
}

const maxRelease = 256 // bytes; utsname has 65

var (
	base = regexp.MustCompile(`^(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?(?:\.\d{1,5})?`)
	rc   = regexp.MustCompile(`^-rc(\d{1,4})$`)

	// builds: what follows the base version, and whose it is. The first group is
	// the vendor's numbers, separated by points or hyphens.
	builds = []struct {
		form   *regexp.Regexp
		vendor func(m []string) Vendor
	}{
		{regexp.MustCompile(`^-([0-9][0-9.]*)\.el[0-9]+uek(\.[a-z0-9_]+)?$`), is(UEK)},
		{regexp.MustCompile(`^-([0-9][0-9.]*)\.el(6|7|8|9|10)(?:_[0-9]+)?(?:\.centos\.plus)?(?:\.(?:x86_64|aarch64|ppc64le|ppc64|s390x|i686)(?:\+(?:debug|rt|64k))?)?$`), redHat},
		{regexp.MustCompile(`^-([0-9][0-9.-]*)\.amzn2(\.[a-z0-9_]+)?$`), is(Amazon2)},
		{regexp.MustCompile(`^-([0-9][0-9.-]*)\.amzn2023(\.[a-z0-9_]+)?$`), is(Amazon2023)},
		{regexp.MustCompile(`^-([0-9][0-9.]*)\.al(?:7|8|nx3)(\.[a-z0-9_]+)?$`), is(Alibaba)},
		{regexp.MustCompile(`^-([0-9]+)-(?:generic|lowlatency|aws|azure|gcp|gke|gkeop|oracle|kvm|ibm|nvidia|raspi|virtual)(?:-[a-z0-9]+)?$`), is(Ubuntu)},
		{regexp.MustCompile(`^-([0-9]+)-(?:cloud-|rt-)?(?:amd64|arm64|686|686-pae|armmp|ppc64el|s390x)$`), is(Debian)},
		{regexp.MustCompile(`^\+(?:deb|bpo)([0-9]+)(?:u[0-9]+)?-(?:cloud-|rt-)?(?:amd64|arm64|686|686-pae|armmp|ppc64el|s390x)$`), is(Debian)},
	}
)

func is(v Vendor) func([]string) Vendor { return func([]string) Vendor { return v } }

func redHat(m []string) Vendor { return Vendor("el" + m[2]) }

// bases are what the long-lived enterprise kernels are based on: another base
// with the same suffix is somebody else's build.
var bases = map[Vendor][3]int{EL6: {2, 6, 32}, EL7: {3, 10, 0}, EL8: {4, 18, 0}, EL9: {5, 14, 0}, EL10: {6, 12, 0}}

// Parse takes a release apart, as uname -r prints it. False means that it is no
// release at all, an empty one among others.
func Parse(release string) (Version, bool) {
	release = strings.TrimSpace(release)
	m := base.FindStringSubmatch(release)
	if m == nil || len(release) > maxRelease {
		return Version{}, false
	}
	v := Version{Vendor: Custom}
	for i, digits := range m[1:4] {
		v.Base[i], _ = strconv.Atoi(digits)
	}
	rest := release[len(m[0]):]
	if rest == "" && strings.Count(m[0], ".") <= 2 {
		v.Vendor = Upstream
		return v, true
	}
	if c := rc.FindStringSubmatch(rest); c != nil {
		v.RC, _ = strconv.Atoi(c[1])
		if v.RC > 0 {
			v.Vendor = Upstream
		}
		return v, true
	}
	for _, b := range builds {
		if f := b.form.FindStringSubmatch(rest); f != nil {
			v.Vendor, v.Build = b.vendor(f), numbers(f[1])
			break
		}
	}
	if want, ok := bases[v.Vendor]; ok && want != v.Base {
		v.Vendor, v.Build = Custom, nil
	}
	return v, true
}

// numbers splits a vendor's numbers. What does not fit is the largest number.
func numbers(s string) []int {
	var out []int
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '-' }) {
		n, err := strconv.Atoi(part)
		if err != nil || n > 1<<30 {
			n = 1 << 30
		}
		out = append(out, n)
	}
	return out
}

// Mark parses one end of a range of a vendor's kernels: a base version, and
// after a hyphen the vendor's numbers, as 5.3 or 3.10.0-1062.18.1.
func Mark(v Vendor, s string) (Version, bool) {
	head, build, cut := strings.Cut(s, "-")
	m := base.FindStringSubmatch(head)
	if m == nil || m[0] != head || cut && !mark.MatchString(build) || !slices.Contains(Vendors(), v) {
		return Version{}, false
	}
	out := Version{Vendor: v}
	for i, digits := range m[1:4] {
		out.Base[i], _ = strconv.Atoi(digits)
	}
	if cut {
		out.Build = numbers(build)
	}
	return out, true
}

var mark = regexp.MustCompile(`^[0-9]+(?:[.-][0-9]+)*$`)

// Compare orders two builds of one vendor, or two base versions: negative when
// v is the earlier one. A release candidate comes before its release.
func (v Version) Compare(w Version) int {
	if c := slices.Compare(v.Base[:], w.Base[:]); c != 0 {
		return c
	}
	if c := slices.Compare(v.Build, w.Build); c != 0 {
		return c
	}
	switch {
	case v.RC == w.RC:
		return 0
	case v.RC == 0 || w.RC != 0 && v.RC > w.RC:
		return 1
	}
	return -1
}

// Origin is the base version alone, as upstream released it.
func (v Version) Origin() Version { return Version{Vendor: Upstream, Base: v.Base, RC: v.RC} }
