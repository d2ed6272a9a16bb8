package cli

import (
	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/render"
)

func (a *app) node() *cobra.Command {
	var dying bool
	cmd := a.counting(a.reading(&cobra.Command{
		Use:   "node",
		Short: "Show where the node's memory is, and how far it is from reclaim",
		Long: `Show all of MemTotal twice, by who is charged for it and by the kernel's own
classes, each with a remainder that nobody accounts for; how far free memory is
from the watermarks of each zone, and how many contiguous requests it can serve;
what reclaim did since boot; swap and settings; and what a kubelet calls
memory.available.

With --dying, show the memory cgroups that were removed and that the kernel still
keeps, what each is still charged for, and which files and slab caches hold it;
how many of the 65534 ids of memory cgroups are taken. From kernel 7.1 on a removed
cgroup's pages become its parent's: shown is what living cgroups inherited.

` + exitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			r, err := n.Whole()
			if err != nil {
				return err
			}
			text, wide := func() []byte { return render.Node(r) }, func() []byte { return render.NodeWide(r) }
			if dying {
				text, wide = func() []byte { return render.Dying(r, false) }, func() []byte { return render.Dying(r, true) }
			}
			return a.write(r, r.NotSeen, text, wide)
		},
	}, "text", "wide", "json", "yaml"))
	cmd.Flags().BoolVar(&dying, "dying", false, "removed cgroups that the kernel still keeps")
	return cmd
}
