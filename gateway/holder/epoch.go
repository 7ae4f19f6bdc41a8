package holder

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/audit/entry"
)

// An epoch of a collection is the time of one key. The next one begins
//
//   - when the agreements say so, or the bound of static Diffie-Hellman, see
//     [agreement.Registry.RotateBy];
//   - when the rules withhold a record from an asker that was published to it in this
//     epoch: everything changes at once, so that nobody sees whose tags have gone;
//   - when an operator says so.
//
// From then on sets are published under the new key. That of the epoch before stays in
// use for an overlap, so that an asker that has not synchronised yet is answered, and
// is destroyed after it whatever has happened meanwhile: an old set must not be
// searchable for longer because a new one could not be published.

// The reasons of entries about epochs. None says why an epoch began.
const (
	epochBegun       = "EPOCH_BEGUN"
	epochEnded       = "EPOCH_ENDED" // the key is destroyed
	epochCompromised = "KEY_COMPROMISED"
)

// Rotate begins the next epoch of a collection and returns its number. If the key is
// compromised, those of all epochs before are destroyed at once, and whoever asks with
// an older list is refused until the next is published. Publishing is for the caller,
// see [Holder.PublishAll].
//
// An error may come with a number: then the epoch has begun, and the rest has to be
// done again.
func (h *Holder) Rotate(ctx context.Context, collection string, compromised bool) (uint32, error) {
	unlock, err := h.lock(ctx, "/"+collection)
	if err != nil {
		return 0, err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	epoch, err := h.begun(ctx, collection)
	if err != nil || !compromised {
		return epoch, err
	}
	all, err := h.Keys.Epochs(collection)
	if err != nil {
		return epoch, err
	}
	var errs []error
	for _, e := range all {
		if e.Number < epoch && e.Destroyed.IsZero() {
			errs = append(errs, h.destroy(ctx, collection, e.Number, epochCompromised))
		}
	}
	return epoch, errors.Join(errs...)
}

// after sees to it that there is an epoch later than epoch.
func (h *Holder) after(ctx context.Context, collection string, epoch uint32) error {
	unlock, err := h.lock(ctx, "/"+collection)
	if err != nil {
		return err
	}
	defer unlock()
	now, _, err := h.Keys.Current(collection)
	if err != nil || now > epoch {
		return err
	}
	_, err = h.begun(context.WithoutCancel(ctx), collection)
	return err
}

// begun makes the key of the next epoch, and logs it. Without the entry there is no
// such epoch.
func (h *Holder) begun(ctx context.Context, collection string) (uint32, error) {
	now := h.Now()
	epoch, err := h.Keys.Create(collection, now)
	if err != nil {
		return 0, err
	}
	server, err := h.Keys.Server(collection, epoch)
	if err == nil {
		err = h.logEpoch(ctx, collection, server.PublicKey(), epochBegun)
	}
	if err != nil {
		return 0, errors.Join(err, h.Keys.Destroy(collection, epoch, now))
	}
	h.log.InfoContext(ctx, "epoch begun", "collection", collection, "epoch", epoch)
	return epoch, nil
}

// destroy destroys the key of an epoch, and logs it. The key is destroyed also if the
// log takes no entries.
func (h *Holder) destroy(ctx context.Context, collection string, epoch uint32, reason string) error {
	var public oprf.PublicKey // zero for a key that cannot be read
	server, err := h.Keys.Server(collection, epoch)
	if err == nil {
		public = server.PublicKey()
	}
	if err := h.Keys.Destroy(collection, epoch, h.Now()); err != nil {
		return fmt.Errorf("holder: destroying epoch %d of %s: %w", epoch, collection, err)
	}
	h.log.InfoContext(ctx, "epoch ended", "collection", collection, "epoch", epoch)
	return h.logEpoch(ctx, collection, public, reason)
}

func (h *Holder) logEpoch(ctx context.Context, collection string, public oprf.PublicKey, reason string) error {
	_, err := h.Shared.Append(ctx, &entry.Entry{Kind: entry.KindEpoch, Time: h.Now().UnixMilli(), Holder: h.Gateway,
		Collection: collection, Subject: public, Reason: reason})
	return err
}

// MaintainEpochs begins the epochs that are due, and destroys the keys of those whose
// overlap is over. It goes on after an error, and returns all of them joined.
func (h *Holder) MaintainEpochs(ctx context.Context) error {
	var errs []error
	for _, collection := range h.Keys.Collections() {
		if err := h.maintain(ctx, collection); err != nil {
			errs = append(errs, fmt.Errorf("holder: epochs of %s: %w", collection, err))
		}
	}
	return errors.Join(errs...)
}

func (h *Holder) maintain(ctx context.Context, collection string) error {
	unlock, err := h.lock(ctx, "/"+collection)
	if err != nil {
		return err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	all, err := h.Keys.Epochs(collection)
	if err != nil || len(all) == 0 {
		return err
	}
	now := h.Now()
	var errs []error
	overlap := h.Agreements.Overlap(collection, now)
	for i, e := range all[:len(all)-1] {
		if e.Destroyed.IsZero() && !now.Before(all[i+1].Created.Add(overlap)) {
			errs = append(errs, h.destroy(ctx, collection, e.Number, epochEnded))
		}
	}
	newest := all[len(all)-1]
	due := h.Agreements.RotateBy(collection, newest.Created, now)
	if !newest.Destroyed.IsZero() || !due.IsZero() && !now.Before(due) {
		_, err := h.begun(ctx, collection)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// committed returns the epoch whose key an agreement commits to: a list begins with
// it, and the manifest of each later epoch continues that of the one before.
func (h *Holder) committed(collection, commitment string) (uint32, *oprf.Server, error) {
	all, err := h.Keys.Epochs(collection)
	if err != nil {
		return 0, nil, err
	}
	for _, e := range all {
		if !e.Destroyed.IsZero() {
			continue
		}
		server, err := h.Keys.Server(collection, e.Number)
		if err != nil {
			return 0, nil, err
		}
		if public := server.PublicKey(); hex.EncodeToString(public[:]) == commitment {
			return e.Number, server, nil
		}
	}
	return 0, nil, ErrCommitment
}

// ErrCommitment is returned where the first version of a list cannot be published,
// because the key that the agreement names has been destroyed. Make a new invite, and
// amend the agreement.
var ErrCommitment = errors.New("holder: the key that the agreement commits to is destroyed: make a new invite and amend the agreement")
