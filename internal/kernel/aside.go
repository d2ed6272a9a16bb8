package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// ahead is how many bytes of questions are sent before their answers are waited
// for: far less than a pipe holds, so that sending never waits.
const ahead = 4 << 10

// aside asks questions in a child process. A child that does not answer is
// killed and left to the kernel; the next question gets a new one. A process
// that left a question without an answer is not asked about again.
type aside struct {
	command []string

	mu    sync.Mutex
	child *asideChild
	stuck map[string]bool // PIDs
}

type asideChild struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	answers chan Answer // the first one is the child's greeting; closed when the child is gone
}

// ServeAside answers the questions that arrive on in until it ends. It is the
// whole life of the reader process.
func ServeAside(src Source, in io.Reader, out io.Writer) error {
	if err := writeAnswer(out, Answer{}); err != nil {
		return err
	}
	for r := bufio.NewReader(in); ; {
		q, err := readQuestion(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeAnswer(out, src.Ask(q)); err != nil {
			return err
		}
	}
}

// ask asks questions in their order and returns as many answers.
func (s *aside) ask(ctx context.Context, qs []Question, patience time.Duration) []Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := make([]Answer, 0, len(qs))
	for len(answers) < len(qs) {
		rest := qs[len(answers):]
		if a, ok := s.refuse(rest[0]); ok {
			answers = append(answers, a)
			continue
		}
		n, err := s.send(ctx, rest)
		if err != nil {
			answers = append(answers, failed("reader process: "+err.Error()))
			continue
		}
		for _, q := range rest[:n] {
			a, ok := s.receive(ctx, q, patience)
			answers = append(answers, a)
			if !ok { // the child is gone, and the others were not answered
				break
			}
		}
	}
	return answers
}

func (s *aside) refuse(q Question) (Answer, bool) {
	pid, _ := processFile(q.Path)
	switch {
	case s.stuck[pid]:
		return stuckBefore(), true
	case len(s.stuck) >= maxStuck:
		return notAsked(), true
	}
	return Answer{}, false
}

// send sends the first questions and returns how many.
func (s *aside) send(ctx context.Context, qs []Question) (int, error) {
	if s.child == nil {
		child, err := s.start(ctx)
		if err != nil {
			return 0, fmt.Errorf("start: %w", err)
		}
		s.child = child
	}
	var frames []byte
	n := 0
	for n < len(qs) && (n == 0 || len(frames) < ahead) {
		if _, no := s.refuse(qs[n]); no {
			break
		}
		frames = appendQuestion(frames, qs[n])
		n++
	}
	if _, err := s.child.stdin.Write(frames); err != nil {
		s.drop()
		return 0, err
	}
	return n, nil
}

// receive waits for the answer to q; false means that no other one will come.
func (s *aside) receive(ctx context.Context, q Question, patience time.Duration) (Answer, bool) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, q.patience(patience))
	defer cancel()
	select {
	case a, ok := <-s.child.answers:
		if !ok {
			s.drop()
			return failed("the reader process ended"), false
		}
		return a, true
	case <-ctx.Done():
		s.drop()
		if s.stuck == nil {
			s.stuck = map[string]bool{}
		}
		pid, _ := processFile(q.Path)
		s.stuck[pid] = true
		return noAnswer(time.Since(start)), false
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
	c := &asideChild{cmd: cmd, stdin: stdin, answers: make(chan Answer, 1)}
	go func() {
		defer close(c.answers)
		for r := bufio.NewReader(stdout); ; {
			a, err := readAnswer(r)
			if err != nil {
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
		err = errors.New(s.command[0] + " did not greet")
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.end()
	return nil, err
}

// drop abandons the child: it may be stuck where no signal reaches it, so
// nobody waits for it here. What it may still have sent is for nobody.
func (s *aside) drop() {
	s.child.end()
	s.child = nil
}

func (c *asideChild) end() {
	c.stdin.Close()
	c.cmd.Process.Kill()
	go func() {
		for range c.answers { // or its reader would wait for ever to pass one on
		}
	}()
	go c.cmd.Wait()
}

func (s *aside) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil {
		s.drop()
	}
}
