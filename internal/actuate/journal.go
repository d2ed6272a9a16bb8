package actuate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/size"
)

const (
	journalSchema = "memwhy.journal/v1"
	journalEnd    = ".journal"
	lockEnd       = ".lock"
	newEnd        = ".new"

	maxJournal  = 64 << 10 // bytes
	maxJournals = 4096
)

// Recovered is a setting of a journal, and what became of it.
type Recovered struct {
	Group   remedy.Group
	Setting string // the file in the group's directory
	Was     string // before
	Set     string // by us
	Outcome string // one of the constants below; empty: still to be looked at
	Err     string
	PID     int // of the process that set it
	At      time.Time
}

// Outcomes of putting a setting back.
const (
	PutBack   = string(knob.PutBack)
	Unchanged = string(knob.Unchanged) // it had its old value already
	Theirs    = string(knob.Theirs)    // somebody set another value since
	Vanished  = string(knob.Vanished)  // the cgroup, or the boot
	Failing   = string(knob.Failing)   // still to be put back
)

// entry is a journal: what is, or may be, changed at this moment.
type entry struct {
	Schema   string         `json:"schema"`
	Boot     string         `json:"boot"`
	PID      int            `json:"pid"`
	At       time.Time      `json:"at"`
	Record   string         `json:"record"` // its ID
	State    knob.Path      `json:"state"`  // directory of that record
	Path     knob.Path      `json:"path"`   // of the cgroup, below the hierarchy's root
	Group    knob.Group     `json:"group"`
	Settings []knob.Setting `json:"settings"`
}

// bootID tells boots apart; empty when unknown.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// openDir opens a directory of our own, which nobody else may write to. It is made when
// it is not there.
func openDir(dir string, make bool) (*os.Root, error) {
	if make {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if st, err = root.Stat("."); err == nil {
		sys, ok := st.Sys().(*syscall.Stat_t)
		if st.Mode().Perm()&0o022 != 0 || ok && int(sys.Uid) != os.Geteuid() {
			err = fmt.Errorf("%s may be written to by others", dir)
		}
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// journal is the file of what one run has changed.
type journal struct {
	dir  *os.Root
	name string
}

func journalName(target uint64) string { return strconv.FormatUint(target, 10) + journalEnd }

// write puts an entry on stable storage, in place of an earlier one.
func (j *journal) write(e *entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	name := j.name + newEnd
	f, err := j.dir.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	at("journal written")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = j.dir.Rename(name, j.name)
	}
	if err == nil {
		err = j.sync()
	}
	if err != nil {
		_ = j.dir.Remove(name)
	}
	return err
}

// clear forgets the entry: nothing is changed any more.
func (j *journal) clear() error {
	if err := j.dir.Remove(j.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return j.sync()
}

// sync makes the names in the directory last.
func (j *journal) sync() error {
	d, err := j.dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // a file system that has nothing to sync
		return err
	}
	return nil
}

var errJournal = errors.New("not a journal")

func (j *journal) read() (*entry, error) {
	f, err := j.dir.OpenFile(j.name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errJournal
	}
	b, err := io.ReadAll(io.LimitReader(f, maxJournal+1))
	if err != nil || len(b) > maxJournal {
		return nil, errJournal
	}
	return parseEntry(b)
}

func parseEntry(b []byte) (*entry, error) {
	e := &entry{}
	if json.Unmarshal(b, e) != nil || e.Schema != journalSchema || e.Boot == "" || e.Group.ID == 0 {
		return nil, errJournal
	}
	return e, nil
}

// each is what the journal says of every setting, before anything is looked at.
func (e *entry) each() []Recovered {
	var all []Recovered
	for _, s := range e.Settings {
		all = append(all, Recovered{
			Group:   remedy.Group{Path: string(e.Path), Dir: string(e.Group.Dir), Version: e.Group.Version, ID: e.Group.ID},
			Setting: s.Name, Was: text(s.Was), Set: text(s.Set), PID: e.PID, At: e.At,
		})
	}
	return all
}

// text is a setting as people write it.
func text(v int64) string {
	if v == size.Unlimited {
		return "max"
	}
	return strconv.FormatInt(v, 10)
}

// restore puts back what the entry says was changed.
func (e *entry) restore() []Recovered {
	all := e.each()
	if e.Boot != bootID() {
		for i := range all {
			all[i].Outcome = Vanished
		}
		return all
	}
	c, err := knob.Open(e.Group)
	if err == nil {
		defer c.Close()
	}
	for i := range all {
		if err == nil {
			outcome, failed := c.Restore(e.Settings[i])
			if all[i].Outcome = string(outcome); failed != nil {
				all[i].Err = failed.Error()
			}
			continue
		}
		all[i].Outcome, all[i].Err = Failing, err.Error()
		if errors.Is(err, knob.ErrGone) {
			all[i].Outcome, all[i].Err = Vanished, ""
		}
	}
	return all
}

// settled reports whether nothing is left to be put back.
func settled(all []Recovered) bool {
	for _, r := range all {
		if r.Outcome == Failing || r.Outcome == "" {
			return false
		}
	}
	return true
}

// replay puts back what a journal holds, and forgets it when that went well.
func (j *journal) replay() ([]Recovered, error) {
	e, err := j.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.name, err)
	}
	all := e.restore()
	if settled(all) {
		err = j.clear()
	}
	if e.State != "" {
		_ = noteRecovery(string(e.State), e.Record, all)
	}
	return all, err
}

// remains are the cgroups of which there is something in a directory: a journal, one that
// was being written, a lock.
func remains(dir *os.Root) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxJournals)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var found []string
	for _, n := range names {
		id, end, _ := strings.Cut(n, ".")
		if end = "." + end; end == journalEnd || end == journalEnd+newEnd || end == lockEnd {
			found = append(found, id)
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// Pending lists the settings of journals in dir that a reclaim left changed, as far as
// the journals say: nothing is looked at or touched. One that is under way is not
// pending. It is cheap when there is none.
func Pending(dir string) []Recovered {
	root, err := openDir(dir, false)
	if err != nil {
		return nil
	}
	defer root.Close()
	ids, _ := remains(root)
	var all []Recovered
	for _, id := range ids {
		if locked(root, id+lockEnd) {
			continue
		}
		name := id + journalEnd
		e, err := (&journal{root, name}).read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			all = append(all, Recovered{Err: name + ": " + err.Error()})
		case e.Boot == bootID():
			all = append(all, e.each()...)
		}
	}
	return all
}

// Recover puts back the settings of all pending journals in dir, and clears up what else
// was left. Those that are under way are left alone.
func Recover(dir string) ([]Recovered, error) {
	root, err := openDir(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	ids, err := remains(root)
	var all []Recovered
	errs := []error{err}
	for _, id := range ids {
		l, err := lock(root, id+lockEnd)
		if errors.Is(err, ErrBusy) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_ = root.Remove(id + journalEnd + newEnd)
		done, err := (&journal{root, id + journalEnd}).replay()
		all, errs = append(all, done...), append(errs, err)
		l.release()
	}
	return all, errors.Join(errs...)
}
