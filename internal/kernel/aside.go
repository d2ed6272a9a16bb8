package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// ahead is how many bytes of questions are sent before their answers are waited
// for: far less than a pipe holds, so that sending never waits.
const ahead = 4 << 10

// greeting is how long a reader process may take to start.
const greeting = 5 * time.Second

// aside asks questions in a child process. A child that does not answer is
// killed and left to the kernel; the next question gets a new one. A process
// that left a question without an answer is not asked about again.
type aside struct {
	command []string

	mu    sync.Mutex
	child *asideChild
	stuck map[string]bool // PIDs
	bytes int64           // of the answers
	cpu   time.Duration   // of earlier children
	now   time.Duration   // of this child
}

type asideChild struct {
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  deadlineReader
	answers *bufio.Reader // of stdout
}

// deadlineReader is a pipe: a read of it can be given up.
type deadlineReader interface {
	io.ReadCloser
	SetReadDeadline(time.Time) error
}

// ServeAside answers the questions that arrive on in until it ends. It is the
// whole life of the reader process.
func ServeAside(src Source, in io.Reader, out io.Writer) error {
	if err := writeAnswer(out, Answer{}, 0); err != nil {
		return err
	}
	for r := bufio.NewReader(in); ; {
		q, err := readQuestion(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		a := src.Ask(q)
		if err := writeAnswer(out, a, src.Origin().Cost.CPU); err != nil {
			return err
		}
	}
}

// cost is what the children read and spent, as far as they answered.
func (s *aside) cost() (bytes int64, cpu time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, s.cpu + s.now
}

// ask asks questions in their order and returns as many answers.
func (s *aside) ask(ctx context.Context, qs []Question, patience time.Duration) []Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := make([]Answer, 0, len(qs))
	for len(answers) < len(qs) {
		rest := qs[len(answers):]
		if a, ok := s.refuse(ctx, rest[0]); ok {
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

func (s *aside) refuse(ctx context.Context, q Question) (Answer, bool) {
	pid, _ := processFile(q.Path)
	switch {
	case ctx.Err() != nil:
		return outOfTime(), true
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
		if _, no := s.refuse(ctx, qs[n]); no {
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
	a, cpu, err := s.child.receive(ctx, start.Add(q.patience(patience)))
	if err == nil {
		s.bytes, s.now = s.bytes+int64(len(a.Data)), cpu
		return a, true
	}
	s.drop()
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return failed("the reader process ended"), false
	}
	if s.stuck == nil {
		s.stuck = map[string]bool{}
	}
	pid, _ := processFile(q.Path)
	s.stuck[pid] = true
	return noAnswer(time.Since(start)), false
}

// receive reads one answer until the deadline, or until ctx ends.
func (c *asideChild) receive(ctx context.Context, deadline time.Time) (a Answer, cpu time.Duration, err error) {
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.stdout.SetReadDeadline(deadline); err != nil {
		return Answer{}, 0, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.stdout.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	return readAnswer(c.answers)
}

func (s *aside) start(ctx context.Context) (*asideChild, error) {
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stdout, ok := pipe.(deadlineReader)
	if !ok {
		return nil, errors.New("a pipe without deadlines")
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	widen(pipe)
	c := &asideChild{cmd: cmd, stdin: stdin, stdout: stdout, answers: bufio.NewReader(stdout)}
	if _, _, err := c.receive(ctx, time.Now().Add(greeting)); err != nil { // the first answer says that it is there
		c.end()
		return nil, fmt.Errorf("%s did not greet: %w", s.command[0], err)
	}
	return c, nil
}

// drop abandons the child: it may be stuck where no signal reaches it, so
// nobody waits for it here.
func (s *aside) drop() {
	s.child.end()
	s.child = nil
	s.cpu, s.now = s.cpu+s.now, 0
}

func (c *asideChild) end() {
	c.stdin.Close()
	c.cmd.Process.Kill()
	go c.cmd.Wait() // closes stdout
}

func (s *aside) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child != nil {
		s.drop()
	}
}
