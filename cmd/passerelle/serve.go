package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/gateway"
)

func (a *app) serveCommand() *cobra.Command {
	var config, level string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a gateway until SIGINT or SIGTERM",
		Long: "Runs a gateway. Its log is on stderr, as JSON lines; it holds no personal data. SIGINT and SIGTERM end it gracefully:\n" +
			"queries under way are finished. One process owns a data folder.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(cmd, "config"); err != nil {
				return err
			}
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return usagef("--log-level %q: want debug, info, warn or error", level)
			}
			cfg, err := gateway.LoadConfig(config)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: l}))
			g, err := gateway.New(cmd.Context(), cfg, gateway.Options{Logger: log})
			if err != nil {
				return err
			}
			return g.Serve(cmd.Context())
		},
	}
	c.Flags().StringVar(&config, "config", "", "configuration file (required)")
	c.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return c
}
