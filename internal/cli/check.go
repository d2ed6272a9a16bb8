package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/check"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/wire"
)

func (a *app) check() *cobra.Command {
	t := check.Thresholds{}
	var node bool
	var protocol, workingSet string
	cmd := a.watching(a.counting(a.reading(&cobra.Command{
		Use:               "check TARGET|--node",
		Short:             "Hold one container, or the node, against thresholds, for monitoring",
		ValidArgsFunction: a.complete,
		Long: `Hold one target, or with --node the node and the kill risk of each container,
against thresholds, and say in one line how it stands. A threshold that is set to
"" is not asked.

Exit codes: plain 0 fine, 1 a threshold is reached, else as memwhy explain;
npd (node-problem-detector) 0 fine, 1 a problem, 2 unknown;
nagios 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, with performance data in bytes.
What fails is unknown to npd and nagios.

` + targetHelp,
		Example: `  memwhy check payments/api --working-set 90%
  memwhy check --node --protocol npd --severity critical
  memwhy check web --protocol nagios --kill-risk raised`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := check.Protocol(protocol)
			if !slices.Contains(check.Protocols(), protocol) {
				return usageError("--protocol %q: want one of %s", protocol, strings.Join(check.Protocols(), ", "))
			}
			var err error
			if t.WorkingSet, err = strconv.Atoi(strings.TrimSuffix("0"+workingSet, "%")); err != nil {
				return usageError("--working-set %q: want a percentage of the limit, as 90%%", workingSet)
			}
			if err := t.Validate(); err != nil {
				return usageError("%w", err)
			}
			target := "/"
			switch {
			case node && len(args) > 0:
				return usageError("a target or --node, not both")
			case !node:
				if target, err = a.target(args); err != nil {
					return err
				}
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			j, err := judge(n, target, node, t)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(a.stdout, j.Line(p)); err != nil {
				return fmt.Errorf("write the answer: %w", err)
			}
			if code := p.Code(j.Level); code != exitDone {
				return &coded{code: code}
			}
			return nil
		},
	})))
	f := cmd.Flags()
	f.BoolVar(&node, "node", false, "the node as a whole")
	f.StringVar(&protocol, "protocol", string(check.Plain), strings.Join(check.Protocols(), "|"))
	f.StringVar(&t.Severity, "severity", "warning", "a finding this grave, or graver: notice|warning|critical")
	f.StringVar(&t.KillRisk, "kill-risk", "high", "a risk of being killed this high, or higher: raised|high|critical")
	f.StringVar(&workingSet, "working-set", "", "a working set of so much of the deciding limit, as 90%")
	return cmd
}

func judge(n *wire.Node, target string, node bool, t check.Thresholds) (check.Result, error) {
	r, err := n.Explain(target)
	if err != nil {
		return check.Result{}, err
	}
	j := check.Judge(r, t)
	if !node {
		return j, nil
	}
	j.About = "node"
	list, err := n.List(wire.Want{}, explain.Selection{Sort: explain.ByUnreclaimable})
	if err != nil {
		return j, err
	}
	for _, row := range list.Containers {
		j.Row(row, t)
	}
	return j, nil
}

// checkFailed answers for a check that failed in the words and the codes of its
// protocol.
func (a *app) checkFailed(args []string, err error) (code int, answered bool) {
	var c *coded
	if err == nil || errors.As(err, &c) && c.err == nil {
		return 0, false
	}
	p := protocolOf(args)
	if p == check.Plain {
		return 0, false
	}
	j := check.Fail(classify(err).err)
	fmt.Fprintln(a.stdout, j.Line(p))
	return p.Code(j.Level), true
}

// protocolOf finds the protocol in a command line, which may be too wrong to parse.
func protocolOf(args []string) check.Protocol {
	if !slices.Contains(args, "check") {
		return check.Plain
	}
	for i, arg := range args {
		value, ok := strings.CutPrefix(arg, "--protocol=")
		if arg == "--protocol" && i+1 < len(args) {
			value, ok = args[i+1], true
		}
		if p := check.Protocol(value); ok && (p == check.NPD || p == check.Nagios) {
			return p
		}
	}
	return check.Plain
}
