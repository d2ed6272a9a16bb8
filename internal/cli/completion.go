package cli

import (
	"bytes"
	"strings"

	"github.com/spf13/cobra"
)

// Cobra's script asks a function of the package bash-completion for the words of the
// line. Nodes and containers mostly lack that package, and then nothing completed.
const (
	bashWords = `    _get_comp_words_by_ref "$@" cur prev words cword
`
	plainWords = `    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    # Without the package bash-completion: a word ends at white space.
    local line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=("")
    cword=$((${#words[@]} - 1))
    cur=${words[cword]} prev=${words[cword - 1]}
`
	bashNeeds = "This script depends on the 'bash-completion' package.\nIf it is not installed already, you can install it via your OS's package manager.\n\n"
)

// completion has the commands that print scripts for shells.
func completion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	bash, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || bash.Name() != "bash" {
		return
	}
	bash.Long = strings.Replace(bash.Long, bashNeeds, "", 1)
	bash.RunE = func(cmd *cobra.Command, _ []string) error {
		bare, err := cmd.Flags().GetBool("no-descriptions")
		if err != nil {
			return err
		}
		var script bytes.Buffer
		if err := root.GenBashCompletionV2(&script, !bare); err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(bytes.Replace(script.Bytes(), []byte(bashWords), []byte(plainWords), 1))
		return err
	}
}

// choices completes the values of a flag.
func choices(cmd *cobra.Command, flag string, values []string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag
	}
}
