package cli

import (
	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/render"
)

func (a *app) node() *cobra.Command {
	var dying bool
	cmd := a.counting(a.reading(&cobra.Command{
		Use:   "node --dying",
		Short: "Show what the node keeps of removed cgroups",
		Long: `Show the memory cgroups that were removed and that the kernel still keeps, what each
is still charged for, and which files and slab caches hold it; how many of the
65534 ids of memory cgroups are taken. From kernel 7.1 on a removed cgroup's pages
become its parent's: shown is what living cgroups inherited.

` + exitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			if !dying {
				return usageError("node: the one view that there is so far is --dying")
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			r, err := n.Dying()
			if err != nil {
				return err
			}
			return a.write(r, r.NotSeen, func() []byte { return render.Dying(r, false) }, func() []byte { return render.Dying(r, true) })
		},
	}, "text", "wide", "json", "yaml"))
	cmd.Flags().BoolVar(&dying, "dying", false, "removed cgroups that the kernel still keeps")
	return cmd
}
