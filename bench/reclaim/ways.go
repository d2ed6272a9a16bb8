//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// way is one way to get memory back.
type way struct {
	name string
	do   func(ctx context.Context, m *measured) error
}

// disposable is the word with which the machines of e2e/vm are started, and nothing
// else is.
const disposable = "memwhy.disposable"

var errNode = errors.New("the caches of a whole node are dropped only where the kernel was started with " + disposable)

// ways are those that this kernel has.
func (s *stage) ways() ([]way, error) {
	probe, err := s.group("probe")
	if err != nil {
		return nil, err
	}
	all := []way{{"nothing", s.nothing}, {"memwhy reclaim", s.byMemwhy}}
	has := func(name string) bool { _, err := os.Stat(filepath.Join(probe.dir, name)); return err == nil }
	switch {
	case has("memory.force_empty"):
		all = append(all, way{"memory.force_empty", s.byForceEmpty})
	case has("memory.reclaim"):
		all = append(all, way{"memory.reclaim of all", s.byReclaim})
	case has("memory.high"):
		all = append(all, way{"memory.high 0", s.byHigh})
	}
	if s.o.dropCaches {
		if !word(disposable) {
			return nil, errNode
		}
		all = append(all, way{"drop_caches", dropCaches})
	}
	return all, s.clear()
}

// nothing is the control: as long as memwhy watches.
func (s *stage) nothing(ctx context.Context, _ *measured) error {
	sleep(ctx, s.o.observe+time.Second)
	return ctx.Err()
}

func (s *stage) byMemwhy(ctx context.Context, m *measured) error {
	notes := filepath.Join(s.dir, "notes")
	cmd := exec.CommandContext(ctx, absolute(s.o.memwhy), "reclaim", s.target.path, "--yes", "--observe", s.o.observe.String(),
		"--record", notes, "--journal", notes, "-o", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var r struct {
		Plan   struct{ ExpectBytes int64 }
		Result *struct{ Stopped, Because string }
	}
	if jerr := json.Unmarshal(out.Bytes(), &r); jerr != nil || r.Result == nil {
		return fmt.Errorf("%w: %s%s", errors.Join(err, jerr), out.Bytes(), errs.Bytes())
	}
	m.planned, m.stopped = r.Plan.ExpectBytes, r.Result.Because
	return nil
}

func (s *stage) byForceEmpty(ctx context.Context, _ *measured) error {
	return writes(ctx, filepath.Join(s.target.dir, "memory.force_empty"), "0")
}

func (s *stage) byReclaim(ctx context.Context, m *measured) error {
	return writes(ctx, filepath.Join(s.target.dir, "memory.reclaim"), strconv.FormatInt(m.usage[0], 10))
}

func (s *stage) byHigh(ctx context.Context, _ *measured) error {
	file := filepath.Join(s.target.dir, "memory.high")
	return errors.Join(writes(ctx, file, "0"), writes(ctx, file, "max"))
}

func dropCaches(ctx context.Context, _ *measured) error {
	if !word(disposable) {
		return errNode
	}
	return writes(ctx, "/proc/sys/vm/drop_caches", "3")
}

// writes writes a value to a file of the kernel, in a process of its own: nothing but
// a signal ends such a write.
func writes(ctx context.Context, file, value string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", file, value)
	cmd.Env = append(os.Environ(), roleVar+"=write")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", file, err, out)
	}
	return nil
}
