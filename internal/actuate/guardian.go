package actuate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// How long things may take that take no time.
const (
	greeting = 5 * time.Second        // a child to start
	lastRite = 100 * time.Millisecond // a writer to die with memwhy
	lingers  = time.Minute            // a writer that is stuck in the kernel
)

// Descriptors that the guardian inherits: a pipe that memwhy and its writers hold, then
// the locks.
const lifeFD = 3

// charge is what the guardian is told when it starts.
type charge struct {
	Journal string   `json:"journal"` // directory
	Name    string   `json:"name"`
	Locks   []string `json:"locks"`
}

// guardian is the process that puts settings back when memwhy cannot.
type guardian struct {
	cmd   *exec.Cmd
	pipe  *os.File // its end is what the guardian waits for
	life  *os.File // what writers inherit
	ended chan struct{}
}

// startGuardian starts the process and waits until it is ready.
func startGuardian(command []string, c charge, locks []*held) (_ *guardian, err error) {
	if len(command) == 0 {
		return nil, errors.New("no guardian")
	}
	in, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	lifeEnd, life, err := os.Pipe()
	if err != nil {
		pipe.Close()
		return nil, err
	}
	defer lifeEnd.Close()
	g := &guardian{cmd: exec.Command(command[0], command[1:]...), pipe: pipe, life: life}
	g.cmd.Env = []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}
	g.cmd.ExtraFiles = []*os.File{lifeEnd}
	for _, l := range locks {
		c.Locks = append(c.Locks, l.name)
		g.cmd.ExtraFiles = append(g.cmd.ExtraFiles, l.file)
	}
	ready, ended, err := launch(g.cmd, in)
	if err != nil {
		g.close()
		return nil, err
	}
	defer ready.Close()
	g.ended = ended
	if err = json.NewEncoder(pipe).Encode(c); err == nil {
		_ = ready.SetReadDeadline(time.Now().Add(greeting))
		_, err = bufio.NewReader(ready).ReadString('\n')
	}
	if err != nil {
		_ = g.cmd.Process.Kill()
		g.close()
		return nil, fmt.Errorf("the guardian did not start: %w", err)
	}
	return g, nil
}

// launch starts a process in a session of its own, where a terminal's signals do not
// reach it: it reads in, answers is what it says, ended is closed when it is over.
func launch(cmd *exec.Cmd, in *os.File) (answers *os.File, ended chan struct{}, err error) {
	answers, out, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdin, cmd.Stdout = in, out
	err = cmd.Start()
	out.Close() // so that answers end with the process
	if err != nil {
		answers.Close()
		return nil, nil, err
	}
	ended = make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	return answers, ended, nil
}

// alive reports whether the guardian is still there.
func (g *guardian) alive() bool {
	select {
	case <-g.ended:
		return false
	default:
		return true
	}
}

func (g *guardian) close() {
	g.pipe.Close()
	g.life.Close()
}

// dismiss lets the guardian go; there is nothing left for it to do.
func (g *guardian) dismiss() {
	g.close()
	select {
	case <-g.ended:
	case <-time.After(greeting):
	}
}

// ServeGuardian is the life of the process that puts settings back when its caller
// dies: it waits until in ends, and for writers to end, and replays the journal. After
// a run that ended well there is none.
func ServeGuardian(in io.Reader, out io.Writer) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	_ = syscall.SetNonblock(lifeFD, true) // so that it can be given up
	life := os.NewFile(lifeFD, "life")
	r := bufio.NewReader(io.LimitReader(in, maxJournal))
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	var c charge
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	dir, err := openDir(c.Journal, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := io.WriteString(out, "ready\n"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	j := &journal{dir, c.Name}
	if !ends(life, lastRite) {
		if e, err := j.read(); err == nil {
			e.restore()
		}
		ends(life, lingers) // it may have written since
	}
	_, err = j.replay()
	for i, name := range c.Locks {
		if f := os.NewFile(uintptr(lifeFD+1+i), name); f != nil && linked(f) {
			_ = dir.Remove(name)
		}
	}
	return err
}

// ends waits until nobody holds the other end of a pipe.
func ends(pipe *os.File, patience time.Duration) bool {
	if pipe == nil {
		return true
	}
	_ = pipe.SetReadDeadline(time.Now().Add(patience))
	var b [1]byte
	_, err := pipe.Read(b[:])
	return !errors.Is(err, os.ErrDeadlineExceeded)
}
