package lab

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// Hold is the life of a holder: wait to be moved into the cgroup, plant, say so,
// hold until told that it is done. When its owner goes away without a word, it
// removes what the owner made, itself last.
func Hold(args []string, stdin io.Reader, stdout io.Writer) int {
	var j job
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &j) != nil {
		return 2
	}
	s, ok := Find(j.Scenario)
	if !ok {
		return 2
	}
	signal.Ignore(syscall.SIGPIPE) // an owner that is gone must not take the clean-up along
	in := bufio.NewReader(stdin)
	if line, _ := in.ReadString('\n'); line != "go\n" {
		return abandoned(j)
	}
	var p planted
	holders, err := s.plant(j)
	if p.Holders = holders; err != nil {
		p.Err = err.Error()
	}
	if json.NewEncoder(stdout).Encode(p) != nil {
		return abandoned(j)
	}
	if line, _ := in.ReadString('\n'); line != "done\n" {
		return abandoned(j)
	}
	return 0
}

// abandoned cleans up for an owner that was killed.
func abandoned(j job) int {
	_ = write(filepath.Join(j.ParentDir, "cgroup.procs"), strconv.Itoa(os.Getpid()))
	if tearDown(j) != nil {
		return 1
	}
	return 0
}
