package admin

import (
	"context"
	"errors"
	"slices"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/query"
)

// RotateKey begins the next epoch of a collection, on the word of an officer: new sets
// are published under a new key, and the old one is destroyed after the overlap, or at
// once if it is compromised.
func (a *Admin) RotateKey(ctx context.Context, caller, collection string, compromised bool) (epoch uint32, err error) {
	who, err := a.officerOf(caller, a.Now())
	if err != nil {
		return 0, err
	}
	if !slices.ContainsFunc(a.Collections, func(c Collection) bool { return c.Name == collection }) {
		return 0, query.Refuse(query.NotFound, errors.New("admin: no such collection"))
	}
	e := entry.Entry{Kind: entry.KindEpoch, Holder: a.Gateway, Collection: collection,
		Subject: digest("collection", []byte(collection)), Reason: "ROTATION_ORDERED"}
	if compromised {
		e.Reason = "KEY_COMPROMISED"
	}
	err = a.announce(ctx, a.Internal, who, e, func() error {
		epoch, err = a.Rotator.Rotate(ctx, collection, compromised)
		return err
	})
	return epoch, refusal(err)
}
