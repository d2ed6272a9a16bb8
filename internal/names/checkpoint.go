package names

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of what is remembered.
const (
	maxRemembered = 4096
	maxFile       = 8 << 20 // bytes
	maxAge        = 90 * 24 * time.Hour
	refresh       = 6 * time.Hour // how old the note of a container that lives may get
)

const checkpointSchema = "memwhy.names/v1"

// checkpoint is the file of the names that were learnt, so that a container that
// is gone still has one. Ids are never used twice, so that an old name is not a
// wrong one.
type checkpoint struct {
	Schema     string       `json:"schema"`
	Containers []remembered `json:"containers"` // the last seen first
}

type remembered struct {
	snapshot.Named
	Seen time.Time `json:"seen"`
}

func checkpointFile(dir string) string { return filepath.Join(dir, "names.json") }

// Remembered are the names of a checkpoint alone, of the state directory dir;
// nobody is asked. Where there is no checkpoint there are none.
func Remembered(dir string) snapshot.Names {
	var n snapshot.Names
	if c, err := load(dir); dir != "" && err == nil {
		recall(&n, dir, c, time.Now())
	}
	return *n.Index()
}

// recall adds what is remembered and not known.
func recall(n *snapshot.Names, dir string, c *checkpoint, now time.Time) {
	known := map[string]bool{}
	for i := range n.Containers {
		known[key(&n.Containers[i])] = true
	}
	source := len(n.Sources)
	n.Sources = append(n.Sources, snapshot.NameSource{Kind: "checkpoint", Address: checkpointFile(dir), State: snapshot.Present, At: now.UTC()})
	for _, r := range c.Containers {
		if k := key(&r.Named); !known[k] {
			known[k] = true
			r.Named.Source, r.Named.State = source, "gone"
			n.Containers = append(n.Containers, r.Named)
		}
	}
}

// key tells containers and pods apart.
func key(n *snapshot.Named) string { return cmp.Or(n.ID, "pod "+n.PodUID) }

func load(dir string) (*checkpoint, error) {
	f, err := os.OpenFile(checkpointFile(dir), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("not a regular file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil || len(b) > maxFile {
		return nil, cmp.Or(err, errors.New("too long"))
	}
	return parseCheckpoint(b)
}

func parseCheckpoint(b []byte) (*checkpoint, error) {
	c := &checkpoint{}
	if err := json.Unmarshal(b, c); err != nil || c.Schema != checkpointSchema {
		return nil, errors.New("not a checkpoint of names")
	}
	c.Containers = c.Containers[:min(len(c.Containers), maxRemembered)]
	for i := range c.Containers {
		bounded(&snapshot.NameSource{}, []snapshot.Named{c.Containers[i].Named})
	}
	return c, nil
}

// learn notes what lives now, and reports whether that is worth writing.
func (c *checkpoint) learn(n *snapshot.Names, now time.Time) (changed bool) {
	at := map[string]int{}
	for i := range c.Containers {
		at[key(&c.Containers[i].Named)] = i
	}
	for i := range n.Containers {
		live := &n.Containers[i]
		note := remembered{Named: snapshot.Named{
			Kind: live.Kind, Runtime: live.Runtime, ID: live.ID, Name: live.Name, Namespace: live.Namespace, Pod: live.Pod, PodUID: live.PodUID, Image: live.Image,
		}, Seen: now.UTC().Truncate(time.Second)}
		j, known := at[key(live)]
		if !known {
			at[key(live)] = len(c.Containers)
			c.Containers = append(c.Containers, note)
			changed = true
			continue
		}
		if now.Sub(c.Containers[j].Seen) > refresh {
			c.Containers[j], changed = note, true
		}
	}
	if !changed {
		return false
	}
	c.Containers = slices.DeleteFunc(c.Containers, func(r remembered) bool { return now.Sub(r.Seen) > maxAge })
	slices.SortStableFunc(c.Containers, func(a, b remembered) int { return b.Seen.Compare(a.Seen) })
	c.Containers = c.Containers[:min(len(c.Containers), maxRemembered)]
	return true
}

// save replaces the file in one step; only its owner may read it.
func (c *checkpoint) save(dir string) error {
	c.Schema = checkpointSchema
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".names-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), checkpointFile(dir))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// remember adds what a checkpoint knows to what was said, and notes the latter.
// Without a state directory, or where there is none yet, nothing is written:
// that it exists is the consent.
func (a *Asker) remember() {
	dir := a.opt.StateDir
	if dir == "" {
		return
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return
	}
	said := len(a.names.Containers)
	c, err := load(dir)
	if err != nil {
		c = &checkpoint{}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	now := time.Now()
	if err == nil && said > 0 && c.learn(&a.names, now) {
		err = c.save(dir)
	}
	recall(&a.names, dir, c, now)
	if err != nil {
		s := &a.names.Sources[len(a.names.Sources)-1]
		s.State, s.Err = snapshot.Failed, "cannot be read or written"
		if errors.Is(err, fs.ErrPermission) {
			s.State, s.Err = snapshot.Denied, "permission denied"
		}
	}
	for len(a.details) < len(a.names.Sources) {
		a.details = append(a.details, nil)
	}
}

// MakeStateDir makes a state directory that somebody asked for.
func MakeStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}
