package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/wire"
)

func (a *app) doctor() *cobra.Command {
	return a.reading(&cobra.Command{
		Use:   "doctor",
		Short: "What can be seen here, what not, and what would change that",
		Long: `Try every source of the running node, and say of each whether it answers, what
it tells, and what is missing where it does not: a capability, a mount, a kernel
option, a line of a container's configuration. The page census is really opened
and tested. Nothing is written, and what refuses is no error.

` + exitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			if a.from != "" {
				return usageError("doctor examines the running node: it takes no --from")
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			d, err := n.Doctor(a.hostRoot)
			if errors.Is(err, wire.ErrNotLive) {
				return &coded{exitNotAllowed, err, ""}
			}
			if err != nil {
				return err
			}
			return a.write(d, nil, func() []byte { return render.Doctor(d, false) }, func() []byte { return render.Doctor(d, true) })
		},
	}, "text", "wide", "json", "yaml")
}
