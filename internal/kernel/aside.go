package kernel

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// aside asks questions in a child process, one at a time. A child that does not
// answer is killed and left to the kernel; the next question gets a new one.
type aside struct {
	command []string

	mu    sync.Mutex
	child *asideChild
	stuck int
}

type asideChild struct {
	cmd     *exec.Cmd
	in      *json.Encoder
	stdin   io.Closer
	answers chan Answer // the first one is the child's greeting; closed when the child is gone
}

// ServeAside answers the questions that arrive on in until it ends. It is the
// whole life of the reader process.
func ServeAside(src Source, in io.Reader, out io.Writer) error {
	dec, enc := json.NewDecoder(in), json.NewEncoder(out)
	if err := enc.Encode(Answer{}); err != nil {
		return err
	}
	for {
		var q Question
		if err := dec.Decode(&q); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		if err := enc.Encode(src.Ask(q)); err != nil {
			return err
		}
	}
}

func (s *aside) ask(ctx context.Context, q Question, patience time.Duration) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stuck >= maxStuck {
		return notAsked()
	}
	if s.child == nil {
		child, err := s.start(ctx)
		if err != nil {
			return failed("start the reader process: " + err.Error())
		}
		s.child = child
	}
	start := time.Now()
	if err := s.child.in.Encode(q); err != nil {
		s.drop()
		return failed("reader process: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case a, ok := <-s.child.answers:
		if !ok {
			s.drop()
			return failed("the reader process ended")
		}
		return a
	case <-ctx.Done():
		s.drop()
		s.stuck++
		return noAnswer(time.Since(start))
	}
}

func (s *aside) start(ctx context.Context) (*asideChild, error) {
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &asideChild{cmd: cmd, in: json.NewEncoder(stdin), stdin: stdin, answers: make(chan Answer, 1)}
	go func() {
		defer close(c.answers)
		for dec := json.NewDecoder(stdout); ; {
			var a Answer
			if dec.Decode(&a) != nil {
				return
			}
			c.answers <- a
		}
	}()
	select {
	case _, ok := <-c.answers:
		if ok {
			return c, nil
		}
		err = fmt.Errorf("%s did not greet", s.command[0])
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.end()
	return nil, err
}

// drop abandons the child: it may be stuck where no signal reaches it, so
// nobody waits for it here.
func (s *aside) drop() {
	s.child.end()
	s.child = nil
}

func (c *asideChild) end() {
	c.stdin.Close()
	c.cmd.Process.Kill()
	go c.cmd.Wait()
}

func (s *aside) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil {
		s.drop()
	}
}
