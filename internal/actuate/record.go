package actuate

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// The record of what was done: JSON, a line each. A reclaim has a line when it begins,
// so that there is one whatever comes, and one when it ends; who puts its settings
// back later adds another one. A reader joins them by ID.
const (
	recordFile   = "reclaim.jsonl"
	recordBefore = "reclaim.1.jsonl" // what was in it before it grew too large
	maxRecords   = 16 << 20          // bytes of a file
	maxLine      = 256 << 10
	maxNamed     = 100 // files in a record
)

// Record is one reclaim, as it was noted.
type Record struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"` // zero: its end was not noted

	// Who.
	UID      int    `json:"uid"`
	LoginUID int64  `json:"loginUid"` // -1 when none, or unknown
	User     string `json:"user,omitempty"`
	Sudo     string `json:"sudo,omitempty"` // what sudo said of its caller
	PID      int    `json:"pid"`
	Parent   int    `json:"ppid"`
	Caller   string `json:"caller,omitempty"` // name of the parent process
	Why      string `json:"why,omitempty"`
	Boot     string `json:"boot,omitempty"`

	// What.
	Path      string       `json:"path"`
	PathBytes []byte       `json:"pathBytes,omitempty"` // when Path is not UTF-8
	Cgroup    uint64       `json:"cgroup"`
	Want      int64        `json:"want"`
	Steps     int          `json:"steps"` // of the plan
	Knobs     []KnobRecord `json:"knobs,omitempty"`
	Files     []FileRecord `json:"files,omitempty"` // the first of them

	// Result. An amount that could not be read is null.
	UsageBefore *int64   `json:"usageBefore"`
	UsageAfter  *int64   `json:"usageAfter"`
	Asked       int64    `json:"asked"`
	Freed       *int64   `json:"freed"`
	Missed      bool     `json:"missed,omitempty"` // nothing stopped it, and less came of it than was wanted
	Stopped     string   `json:"stopped,omitempty"`
	Reason      string   `json:"reason,omitempty"`
	Restored    bool     `json:"restored"`
	Left        []string `json:"left,omitempty"`
	Recovered   []string `json:"recovered,omitempty"` // settings put back by others than the process itself
}

// KnobRecord sums the steps of one knob.
type KnobRecord struct {
	Knob   string `json:"knob"`
	Steps  int    `json:"steps"`
	Failed int    `json:"failed,omitempty"`
	Asked  int64  `json:"asked"`
	Freed  int64  `json:"freed"`
	Err    string `json:"err,omitempty"` // the first
}

// FileRecord is a file whose cache was given back, or was to be.
type FileRecord struct {
	Path      string `json:"path"`
	PathBytes []byte `json:"pathBytes,omitempty"`
	Bytes     int64  `json:"bytes"`
	Err       string `json:"err,omitempty"`
}

// line is a line of the record.
type line struct {
	Schema string `json:"schema"` // recordSchema
	Kind   string `json:"kind"`   // begin, end, recovered
	Record
}

const recordSchema = "memwhy.reclaimed/v1"

// Kinds of lines.
const (
	begun     = "begin"
	ended     = "end"
	recovered = "recovered"
)

// records is the open record; nil notes nothing.
type records struct {
	dir *os.Root
	rec Record
}

// openRecords begins the record of a plan: nothing is done that is not noted.
func openRecords(dir string, p *remedy.Plan, why string) (*records, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := openDir(dir, true)
	if err != nil {
		return nil, err
	}
	r := &records{dir: root, rec: whoami()}
	r.rec.Why, r.rec.Want, r.rec.Steps, r.rec.Cgroup = short(why), p.Want, len(p.Steps), p.Target.ID
	r.rec.Path, r.rec.PathBytes = told(p.Target.Path)
	if err := r.note(begun); err != nil {
		root.Close()
		return nil, err
	}
	return r, nil
}

func whoami() Record {
	r := Record{
		ID: rand.Text()[:16], Started: time.Now().UTC().Truncate(time.Millisecond), UID: os.Getuid(), LoginUID: -1, PID: os.Getpid(), Parent: os.Getppid(),
		Sudo: short(os.Getenv("SUDO_USER")), Boot: bootID(),
	}
	if u, err := user.Current(); err == nil {
		r.User = short(u.Username)
	}
	if b, err := os.ReadFile("/proc/self/loginuid"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil && n != 1<<32-1 {
			r.LoginUID = int64(n)
		}
	}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(r.Parent) + "/comm"); err == nil {
		r.Caller = short(strings.TrimSuffix(string(b), "\n"))
	}
	return r
}

// short bounds a text that others chose.
func short(s string) string {
	if len(s) > 1000 {
		s = s[:1000]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// told is a path for JSON, and its bytes where JSON has no string for it.
func told(p string) (string, []byte) {
	if utf8.ValidString(p) {
		return p, nil
	}
	return strings.ToValidUTF8(p, "\ufffd"), []byte(p)
}

// note writes a line.
func (r *records) note(kind string) error {
	b, err := json.Marshal(line{recordSchema, kind, r.rec})
	if err != nil {
		return err
	}
	f, err := r.dir.OpenFile(recordFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return errors.New(recordFile + " is not a regular file")
	}
	if _, err := f.Write(append(b, '\n')); err != nil { // one write: lines of others stay whole
		return err
	}
	if st.Size() > maxRecords && kind == begun {
		if err := r.dir.Rename(recordFile, recordBefore); err != nil {
			return err
		}
	}
	return f.Sync()
}

// end completes the record.
func (r *records) end(p *remedy.Plan, res *Result) error {
	if r == nil {
		return nil
	}
	defer r.dir.Close()
	r.rec.Ended = time.Now().UTC().Truncate(time.Millisecond)
	r.rec.Missed = !res.Met && res.Stopped == ""
	r.rec.Asked, r.rec.Stopped, r.rec.Reason, r.rec.Restored, r.rec.Left = res.Asked, res.Stopped, short(res.Why.String()), res.Restored, nil
	for _, left := range res.Left {
		r.rec.Left = append(r.rec.Left, left.String())
	}
	before, after := res.Before.Usage, res.After.Usage
	if v, ok := before.Get(); ok {
		r.rec.UsageBefore = &v
	}
	if v, ok := after.Get(); ok {
		r.rec.UsageAfter = &v
	}
	if before.State == snapshot.Present && after.State == snapshot.Present {
		r.rec.Freed = &res.Freed
	}
	r.sum(res.Steps)
	return r.note(ended)
}

// sum adds steps up by knob, and names the first files.
func (r *records) sum(steps []Done) {
	at := map[remedy.Knob]int{}
	for _, d := range steps {
		i, known := at[d.Step.Knob]
		if !known {
			i = len(r.rec.Knobs)
			at[d.Step.Knob] = i
			r.rec.Knobs = append(r.rec.Knobs, KnobRecord{Knob: string(d.Step.Knob)})
		}
		k := &r.rec.Knobs[i]
		k.Steps, k.Asked, k.Freed = k.Steps+1, k.Asked+d.Asked, k.Freed+d.Freed
		why := ""
		if d.Err != nil {
			why = short(d.Err.Error())
		}
		if d.Err != nil && !errors.Is(d.Err, ErrGone) {
			k.Failed++
			k.Err = cmp.Or(k.Err, why)
		}
		if f := d.Step.File; f != nil && len(r.rec.Files) < maxNamed {
			fr := FileRecord{Bytes: f.Bytes, Err: why}
			fr.Path, fr.PathBytes = told(f.Path)
			r.rec.Files = append(r.rec.Files, fr)
		}
	}
}

// noteRecovery adds what became of the settings of a reclaim that could not put them
// back itself.
func noteRecovery(dir, id string, all []Recovered) error {
	root, err := openDir(dir, false)
	if err != nil {
		return err
	}
	defer root.Close()
	rec := Record{ID: id, LoginUID: -1, UID: os.Getuid(), PID: os.Getpid(), Ended: time.Now().UTC().Truncate(time.Millisecond), Restored: settled(all)}
	for _, r := range all {
		rec.Recovered = append(rec.Recovered, fmt.Sprintf("%s %s: %s %s", r.Setting, r.Was, r.Outcome, r.Err))
	}
	return (&records{dir: root, rec: rec}).note(recovered)
}

// ErrGarbled is told beside the records of a History: some lines are none.
var ErrGarbled = errors.New("not everything in the record of what was done can be read")

// History reads the record in dir, the oldest first. An error may come with records.
func History(dir string) ([]Record, error) {
	root, err := openDir(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var h history
	for _, name := range []string{recordBefore, recordFile} {
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return h.all, err
		}
		if st, serr := f.Stat(); serr != nil || !st.Mode().IsRegular() {
			h.garbled++
		} else {
			err = h.read(io.LimitReader(f, 2*maxRecords))
		}
		f.Close()
		if err != nil {
			return h.all, err
		}
	}
	if h.garbled > 0 {
		return h.all, fmt.Errorf("%w: %d lines", ErrGarbled, h.garbled)
	}
	return h.all, nil
}

// history joins lines.
type history struct {
	all     []Record
	at      map[string]int
	garbled int
}

func (h *history) read(r io.Reader) error {
	if h.at == nil {
		h.at = map[string]int{}
	}
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		b, err := readLine(br)
		if len(bytes.TrimSpace(b)) > 0 && !h.line(b) {
			h.garbled++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine reads a line; one that is too long is cut, so that it is garbled.
func readLine(br *bufio.Reader) ([]byte, error) {
	var b []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(b) < maxLine {
			b = append(b, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return b, err
		}
	}
}

func (h *history) line(b []byte) bool {
	var l line
	if json.Unmarshal(b, &l) != nil || l.Schema != recordSchema || l.ID == "" {
		return false
	}
	i, known := h.at[l.ID]
	switch {
	case l.Kind == begun && !known, l.Kind == ended && !known:
		h.at[l.ID] = len(h.all)
		h.all = append(h.all, l.Record)
	case l.Kind == ended:
		l.Record.Recovered = h.all[i].Recovered
		h.all[i] = l.Record
	case l.Kind == recovered && known:
		h.all[i].Recovered = append(h.all[i].Recovered, l.Record.Recovered...)
		h.all[i].Restored = l.Record.Restored
	case l.Kind == recovered: // its beginning is too long ago
	default:
		return false
	}
	return true
}
