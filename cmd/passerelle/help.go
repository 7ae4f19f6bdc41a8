package main

import (
	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/cmd/passerelle/help"
)

// helpCommand prints the manuals, and the help of commands.
func (a *app) helpCommand() *cobra.Command {
	long := "Prints a manual, or the help of a command.\n\nManuals:\n"
	for _, t := range help.Topics() {
		long += "  " + t.Name + "            "[:12-len(t.Name)] + t.Short + "\n"
	}
	return &cobra.Command{
		Use:   "help [TOPIC | COMMAND...]",
		Short: "The manuals (operator, legal, auditor, runbook, config, wire), and help of commands",
		Long:  long,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				if err := cmd.Root().Help(); err != nil {
					return err
				}
				a.outf("\nManuals: passerelle help TOPIC\n")
				t := newTable(a.stdout, "  ", "TOPIC", "ABOUT")
				for _, x := range help.Topics() {
					t.row(x.Name, x.Short)
				}
				return t.flush()
			}
			if text, ok := help.Text(args[0]); ok && len(args) == 1 {
				if a.json {
					return a.printJSON(map[string]string{"topic": args[0], "text": text})
				}
				a.outf("%s", text)
				return nil
			}
			c, rest, err := cmd.Root().Find(args)
			if err != nil || c == cmd.Root() || len(rest) > 0 {
				return usagef("there is no manual and no command %q; `passerelle help` lists them", args[0])
			}
			c.InitDefaultHelpFlag()
			return c.Help()
		},
	}
}
