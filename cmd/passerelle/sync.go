package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) syncCommand() *cobra.Command {
	var request passerellev1.SyncPeersRequest
	c := &cobra.Command{
		Use:   "sync",
		Short: "Fetch the tag sets that neighbours publish for us, now",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.stream(cmd, func(ctx context.Context, c *client) error { return a.sync(ctx, c, &request) })
		},
	}
	c.Flags().StringVar(&request.TrustDomain, "holder", "", "only from this trust domain")
	c.Flags().StringVar(&request.Collection, "collection", "", "only this collection")
	return c
}

func (a *app) sync(ctx context.Context, c *client, request *passerellev1.SyncPeersRequest) error {
	stream, err := c.admin().SyncPeers(ctx, request)
	if err != nil {
		return err
	}
	bar := a.bar()
	defer bar.clear()
	var results []*passerellev1.SyncResult
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p := m.GetProgress(); p != nil {
			bar.show(p.GetHolder()+" "+p.GetCollection(), p.GetBytesDone(), p.GetBytesTotal())
		}
		if r := m.GetResult(); r != nil {
			results = append(results, r)
			if a.json {
				if err := a.printJSON(r); err != nil {
					return err
				}
			}
		}
	}
	bar.clear()
	return a.printSync(results)
}

func (a *app) printSync(results []*passerellev1.SyncResult) error {
	if len(results) == 0 {
		a.notef("Nothing to fetch: no neighbour shares a collection with us under an agreement in force.\n")
		return nil
	}
	worst := exitDone
	t := newTable(a.stdout, "", "HOLDER", "COLLECTION", "RESULT", "VERSION", "TAGS", "RECEIVED")
	for _, r := range results {
		outcome := "up to date"
		switch {
		case r.GetRefusal() != nil:
			f := explainRefusal(r.GetRefusal())
			outcome, worst = f.Reason, worse(worst, f.Code)
		case r.GetFromVersion() == 0:
			outcome = "new"
		case r.GetFromVersion() != r.GetToVersion():
			outcome = "updated"
		}
		t.row(r.GetHolder(), r.GetCollection(), outcome, r.GetToVersion(), r.GetTags(), bytesOf(r.GetBytes()))
	}
	if !a.json {
		if err := t.flush(); err != nil {
			return err
		}
		for _, r := range results {
			if r.GetRefusal() != nil {
				a.outf("\n")
				explainRefusal(r.GetRefusal()).print(a.stdout, printable(r.GetHolder()+" "+r.GetCollection())+": ", "")
				a.outf("  The copy that is here stays in use until it is too old.\n")
			}
		}
	}
	if worst != exitDone {
		return exited(worst)
	}
	return nil
}

// worse returns the exit code that says more: that something was denied before
// that somebody was not reached, and both before that something failed.
func worse(x, y int) int {
	rank := map[int]int{exitDone: 0, exitFailed: 1, exitUnreachable: 2, exitDenied: 3}
	if rank[y] > rank[x] {
		return y
	}
	return x
}
