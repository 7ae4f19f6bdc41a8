package main

import (
	"context"

	"github.com/spf13/cobra"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) keysCommand() *cobra.Command {
	rotate := &cobra.Command{
		Use: "rotate COLLECTION", Args: arguments(cobra.ExactArgs(1)),
		Short: "Begin the next epoch of a collection, under a new key",
		Long: "Makes a new key for a collection. New tag sets are published under it in the background, and neighbours fetch them in\n" +
			"their next round. The key before is used until they have, at most a day, and then destroyed: nobody can search an old\n" +
			"set from then on, whatever copy of it there is.\n\n" +
			"With --compromised all keys before are destroyed at once. Until a neighbour has fetched the new sets its queries are\n" +
			"refused with LIST_STALE.",
	}
	var request passerellev1.RotateKeyRequest
	rotate.Flags().BoolVar(&request.Compromised, "compromised", false, "destroy the keys before at once")
	rotate.RunE = func(cmd *cobra.Command, args []string) error {
		request.Collection = args[0]
		return a.call(cmd, func(ctx context.Context, c *client) error {
			r, err := c.admin().RotateKey(ctx, &request)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			a.outf("Epoch %d of %s has begun. Its sets are published in the background; passerelle keys list shows when the epochs\n"+
				"before it end.\n", r.GetEpoch(), request.GetCollection())
			return nil
		})
	}
	return group("keys", "The keys of the gateway, without their secrets", rotate, &cobra.Command{
		Use: "list", Short: "List the keys, their epochs, and when each is rotated", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.admin().ListKeys(ctx, &passerellev1.ListKeysRequest{})
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				t := newTable(a.stdout, "", "KIND", "KEY", "COLLECTION", "EPOCH", "STATE", "MADE", "ROTATE BY", "ENDS")
				for _, k := range r.GetKeys() {
					t.row(k.GetKind(), k.GetKeyId(), k.GetCollection(), orDash(k.GetEpoch()), k.GetState(), day(k.GetCreated()),
						day(k.GetRotateBy()), shown(k.GetEnds()))
				}
				return t.flush()
			})
		},
	})
}
