package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/words"
)

func (a *app) codes() *cobra.Command {
	return &cobra.Command{
		Use:   "codes [CODE]",
		Short: "What the findings mean",
		Long: `List the codes of findings, or print all about one: what it means, how to see it by
hand, what to do, whose the cure is. It reads no node.

` + exitHelp,
		Example: `  memwhy codes
  memwhy codes cgroup.ids
  memwhy codes kernel.advisory/el7-kmem-slab-leak`,
		RunE: func(_ *cobra.Command, args []string) error {
			say, err := a.words()
			if err != nil {
				return err
			}
			out := render.Codes(say, diagnose.Rules())
			switch len(args) {
			case 0:
			case 1:
				r, ok := diagnose.Of(args[0])
				if !ok {
					return &coded{exitUsage, fmt.Errorf("no code %q", args[0]), words.Key("memwhy codes lists them")}
				}
				out = render.Code(say, r)
				if _, id, is := strings.Cut(args[0], "/"); is && id != "" {
					v, err := advisory.Load(id)
					if err != nil {
						return err
					}
					out = append(append(out, '\n'), render.Advisory(v)...)
				}
			default:
				return usageError("codes: want one code, or none for the list")
			}
			_, err = a.stdout.Write(out)
			return err
		},
	}
}
