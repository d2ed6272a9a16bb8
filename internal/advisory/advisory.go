// Package advisory owns what is known of kernels, kubelets and runtimes that
// make container memory stay high, leak or be misreported: the catalogue, one
// file each, and the judgement of a snapshot by it. It must not know how a
// snapshot was taken nor how an answer looks. It is pure.
//
// A version alone is never a cause: every judgement carries what the user can
// read again.
package advisory

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/memwhy/memwhy/internal/kversion"
)

//go:embed data/*.yaml
var files embed.FS

// Advisory is one file of the catalogue.
type Advisory struct {
	ID            string   `yaml:"id"`
	Title         string   `yaml:"title"`
	Class         string   `yaml:"class"`
	Component     string   `yaml:"component"`
	Summary       string   `yaml:"summary"`
	Affected      []string `yaml:"affected"` // for people; Ranges is for programs
	Fixed         []string `yaml:"fixed"`
	Needs         Needs    `yaml:"needs"`         // without it the node has not got it
	Only          bool     `yaml:"only"`          // kernels of vendors without a range have not got it
	Ranges        []Range  `yaml:"ranges"`        // the first that holds the kernel counts
	Unmatched     string   `yaml:"unmatched"`     // why there is no range
	Preconditions []string `yaml:"preconditions"` // for people
	Signs         []Sign   `yaml:"signs"`
	Otherwise     []Sign   `yaml:"otherwise"` // it is something else when
	Log           []string `yaml:"log"`
	Workaround    []string `yaml:"workaround"`
	Fix           []string `yaml:"fix"`
	Refs          []string `yaml:"refs"`
	NotVerified   []string `yaml:"notVerified"`
}

// Sign is what to read, and what to look for there.
type Sign struct {
	Read string `yaml:"read"`
	Test string `yaml:"test"`
}

// Needs is how the node has to be set up; empty is any.
type Needs struct {
	Cgroup string `yaml:"cgroup"` // v1, v2
	LRU    string `yaml:"lru"`    // mglru
}

// anyVendor in a range: by the base version alone, whoever built the kernel.
const anyVendor = "any"

// The effects of a range.
const (
	affected  = "" // the default
	mitigated = "mitigated"
	free      = "free"
	unknown   = "unknown"
)

// Range is a span of one vendor's kernels: From is in it, Fixed is the first
// that is not. An empty end is open.
type Range struct {
	Vendor  string `yaml:"vendor"`
	From    string `yaml:"from"`
	Fixed   string `yaml:"fixed"`
	Effect  string `yaml:"effect"`
	Because string `yaml:"because"`
}

// IDs are the ids of the catalogue, in order.
func IDs() []string {
	ents, err := files.ReadDir("data")
	if err != nil {
		return nil
	}
	ids := make([]string, 0, len(ents))
	for _, e := range ents {
		ids = append(ids, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return ids
}

var decoded sync.Map // by id

// Load gives one advisory, which is not to be changed. What is embedded has
// passed Check in a test.
func Load(id string) (*Advisory, error) {
	if a, ok := decoded.Load(id); ok {
		return a.(*Advisory), nil
	}
	b, err := files.ReadFile("data/" + id + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no advisory %q", id)
	}
	a, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("advisory %s: %w", id, err)
	}
	decoded.Store(id, a)
	return a, nil
}

func decode(b []byte) (*Advisory, error) {
	var a Advisory
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&a); err != nil {
		return nil, err
	}
	return &a, nil
}

var classes = []string{"kernel-leak", "kernel-id-exhaustion", "accounting", "reclaim", "runtime", "metric-misread", "perf"}

// Check says what is wrong with a.
func (a *Advisory) Check() error {
	switch {
	case a.ID == "" || a.Title == "" || a.Component == "" || a.Summary == "" || len(a.Affected) == 0:
		return fmt.Errorf("id, title, component, summary and affected are required")
	case !slices.Contains(classes, a.Class):
		return fmt.Errorf("class %q", a.Class)
	case (len(a.Ranges) == 0) == (a.Unmatched == ""):
		return fmt.Errorf("want ranges, or why there are none")
	case !slices.Contains([]string{"", "v1", "v2"}, a.Needs.Cgroup), !slices.Contains([]string{"", "mglru"}, a.Needs.LRU):
		return fmt.Errorf("needs %+v", a.Needs)
	}
	for _, r := range a.Ranges {
		if err := r.check(); err != nil {
			return fmt.Errorf("range %+v: %w", r, err)
		}
	}
	for _, s := range slices.Concat(a.Signs, a.Otherwise) {
		if s.Read == "" || s.Test == "" {
			return fmt.Errorf("sign %+v", s)
		}
	}
	return nil
}

func (r Range) check() error {
	v := r.vendor()
	ends := make([]kversion.Version, 0, 2)
	for _, end := range []string{r.From, r.Fixed} {
		if end == "" {
			continue
		}
		m, ok := kversion.Mark(v, end)
		if !ok {
			return fmt.Errorf("%q is no version of %s", end, r.Vendor)
		}
		ends = append(ends, m)
	}
	switch {
	case !slices.Contains(kversion.Vendors(), v):
		return fmt.Errorf("vendor %q", r.Vendor)
	case len(ends) == 2 && ends[0].Compare(ends[1]) >= 0:
		return fmt.Errorf("ends before it begins")
	case !slices.Contains([]string{affected, mitigated, free, unknown}, r.Effect):
		return fmt.Errorf("effect %q", r.Effect)
	case r.Effect == unknown && r.Because == "":
		return fmt.Errorf("unknown without a reason")
	}
	return nil
}

func (r Range) vendor() kversion.Vendor {
	if r.Vendor == anyVendor {
		return kversion.Upstream
	}
	return kversion.Vendor(r.Vendor)
}

// holds reports whether the range has k in it. A mark without a vendor's own
// numbers, as 4.19, is before every build of that base.
func (r Range) holds(k kversion.Version) bool {
	if r.Vendor == anyVendor {
		k = k.Origin()
	} else if kversion.Vendor(r.Vendor) != k.Vendor {
		return false
	}
	if from, ok := kversion.Mark(r.vendor(), r.From); ok && k.Compare(from) < 0 {
		return false
	}
	fixed, ok := kversion.Mark(r.vendor(), r.Fixed)
	return !ok || k.Compare(fixed) < 0
}

// Text is the range with what it does there, and why.
func (r Range) Text() string {
	text := r.String() + ": " + cmp.Or(r.Effect, "affected")
	if r.Because != "" {
		text += " (" + r.Because + ")"
	}
	return text
}

// String says the range for people.
func (r Range) String() string {
	who := r.Vendor
	if who == anyVendor {
		who = "all kernels"
	}
	switch {
	case r.From != "" && r.Fixed != "":
		return who + " from " + r.From + " to before " + r.Fixed
	case r.From != "":
		return who + " from " + r.From
	case r.Fixed != "":
		return who + " before " + r.Fixed
	}
	if r.Vendor == anyVendor {
		return who
	}
	return "all of " + who
}
