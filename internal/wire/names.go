package wire

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/names"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Naming says whom to ask what containers are called.
type Naming = names.Options

// CheckEndpoint reports what is wrong with the address of a socket.
func CheckEndpoint(s string) error {
	if s == names.None {
		return nil
	}
	_, err := names.ParseEndpoint(s)
	return err
}

// Nowhere, as a state directory, keeps nothing.
const Nowhere = names.None

// MakeStateDir makes a state directory that somebody asked for.
func MakeStateDir(dir string) error { return names.MakeStateDir(dir) }

// named is a running node whose container runtimes are asked too. Everything
// else passes on to the Guard.
type named struct {
	*kernel.Guard
	asker *names.Asker
}

// Ask implements kernel.Source.
func (n named) Ask(q kernel.Question) kernel.Answer {
	if q.Op != kernel.Containers {
		return n.Guard.Ask(q)
	}
	said := n.asker.Names
	if id := strings.TrimPrefix(q.Path, "/"); id != "" {
		said = func() snapshot.Names { return n.asker.Detail(id) }
	}
	b, err := json.Marshal(said())
	if err != nil {
		return kernel.Answer{State: snapshot.Failed, Err: "cannot be written as JSON", At: time.Now()}
	}
	return kernel.Answer{State: snapshot.Present, Data: b, At: time.Now()}
}
