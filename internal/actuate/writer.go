package actuate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/knob"
)

// How long a writer may take to end: asked to, and made to.
const (
	asks  = 200 * time.Millisecond
	makes = 2 * time.Second
)

// writer has orders carried out by a child process, one after the other. One that does
// not come back in time is ended by a signal, which is the only thing that ends a write
// in the kernel; the next order gets a new process.
type writer struct {
	command []string
	life    *os.File // inherited, see guardian; may be nil
	child   *scribe
}

type scribe struct {
	cmd     *exec.Cmd
	orders  *os.File
	answers *os.File
	replies *json.Decoder
	ended   chan struct{}
}

var errStuck = errors.New("a process of memwhy is stuck in the kernel")

// order carries out one order. The error is that the order may not have been carried
// out, or not to its end.
func (w *writer) order(o knob.Order, patience time.Duration) (knob.Reply, error) {
	if w.child == nil {
		c, err := w.start()
		if err != nil {
			return knob.Reply{}, fmt.Errorf("start a writer: %w", err)
		}
		w.child = c
	}
	c := w.child
	at("order")
	var r knob.Reply
	err := json.NewEncoder(c.orders).Encode(o)
	if err == nil {
		_ = c.answers.SetReadDeadline(time.Now().Add(patience))
		err = c.replies.Decode(&r)
	}
	if err == nil {
		return r, nil
	}
	w.child = nil
	if stuck := c.stop(); stuck != nil {
		return r, stuck
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return r, knob.ErrInterrupted
	}
	return r, fmt.Errorf("the writer ended: %w", err)
}

func (w *writer) start() (*scribe, error) {
	if len(w.command) == 0 {
		return nil, errors.New("no command")
	}
	in, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	cmd := exec.Command(w.command[0], w.command[1:]...)
	// The runtime's own signals would end a write too.
	cmd.Env = []string{"GODEBUG=asyncpreemptoff=1", "GOTRACEBACK=none"}
	if w.life != nil {
		cmd.ExtraFiles = []*os.File{w.life}
	}
	answers, ended, err := launch(cmd, in)
	if err != nil {
		orders.Close()
		return nil, err
	}
	c := &scribe{cmd: cmd, orders: orders, answers: answers, replies: json.NewDecoder(answers), ended: ended}
	var hello knob.Reply
	_ = answers.SetReadDeadline(time.Now().Add(greeting))
	if err := c.replies.Decode(&hello); err != nil {
		_ = c.stop()
		return nil, err
	}
	return c, nil
}

// stop ends the process, gently first.
func (c *scribe) stop() error {
	defer c.answers.Close()
	defer c.orders.Close()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if c.over(asks) {
		return nil
	}
	_ = c.cmd.Process.Kill()
	if c.over(makes) {
		return nil
	}
	return errStuck
}

func (c *scribe) over(patience time.Duration) bool {
	select {
	case <-c.ended:
		return true
	case <-time.After(patience):
		return false
	}
}

// close lets the process go. It has nothing to do, so that it ends at once.
func (w *writer) close() {
	if w.child == nil {
		return
	}
	w.child.orders.Close()
	if !w.child.over(makes) {
		_ = w.child.cmd.Process.Kill()
	}
	w.child.answers.Close()
	w.child = nil
}

// ServeWriter is the life of the process that writes to the kernel, which may be given
// up at any time.
func ServeWriter(in io.Reader, out io.Writer) error {
	signal.Reset(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	return knob.Serve(in, out)
}
