package main

import (
	"context"

	"github.com/spf13/cobra"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) keysCommand() *cobra.Command {
	return group("keys", "The keys of the gateway, without their secrets", &cobra.Command{
		Use: "list", Short: "List the keys, their epochs, and how often each was used", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ListKeys(ctx, &passerellev1.ListKeysRequest{})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				t := newTable(a.stdout, "", "KIND", "KEY", "COLLECTION", "EPOCH", "STATE", "MADE", "ELEMENTS", "ROTATE BY")
				for _, k := range r.GetKeys() {
					t.row(k.GetKind(), k.GetKeyId(), k.GetCollection(), orDash(k.GetEpoch()), k.GetState(), day(k.GetCreated()),
						k.GetEvaluations(), day(k.GetRotateBy()))
				}
				return t.flush()
			})
		},
	})
}
