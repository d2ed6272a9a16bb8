package cli

import (
	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/words"
)

func (a *app) advisories() *cobra.Command {
	all := false
	cmd := a.reading(&cobra.Command{
		Use:   "advisories",
		Short: "Known faults of kernel, kubelet and runtime, applied to this node",
		Long: `Apply the catalogue of known faults to this node: whether its version has them,
and whether they are seen to do harm. A version alone is never a cause.

  version-and-evidence      it has the fault, and the signs are there
  evidence-despite-version  the signs are there, the version should be free of it
  mitigated                 it has the fault, and something keeps it from harm
  version-only              it has the fault; no sign was seen, or none is known
  unknown                   it cannot be told, and the evidence says why
  not-affected              its version is free of it

The last three are counted only; --all lists them.

` + exitHelp,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.format("text", "json", "yaml"); err != nil {
				return err
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			r, err := n.Advisories()
			if err != nil {
				return err
			}
			return a.write(r, r.NotSeen, func() []byte { return render.Advisories(r, all) }, nil)
		},
	}, "text", "json", "yaml")
	cmd.Flags().BoolVar(&all, "all", false, "list those too of which nothing was seen")
	cmd.AddCommand(&cobra.Command{
		Use: "show ID", Short: "All that is known of one fault",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("show one advisory: memwhy advisories show ID")
			}
			v, err := advisory.Load(args[0])
			if err != nil {
				return &coded{exitUsage, err, words.Key("memwhy advisories --all lists them")}
			}
			_, err = a.stdout.Write(render.Advisory(v))
			return err
		},
	})
	return cmd
}
