package admin

import (
	"context"
	"errors"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

var (
	// ErrFingerprint is the cause of a refusal of an invite whose fingerprint is
	// not the one that was expected. It is the same whatever differs.
	ErrFingerprint = errors.New("admin: the fingerprint is not that of the invite")

	// ErrTerms is the cause of a refusal of an agreement that says something else
	// of a party than we know: another gateway, category, or key. Draft lists all
	// of it.
	ErrTerms = errors.New("admin: the agreement contradicts what is known of the parties")

	// ErrTooLong is the cause of a refusal of a text over its limit.
	ErrTooLong = errors.New("admin: text is over its limit")
)

// reasons says which reason an error of the rooms below is.
var reasons = []struct {
	err    error
	reason query.Reason
}{
	{store.ErrNotFound, query.NotFound},
	{store.ErrStorage, query.StorageUnavailable},
	{store.ErrClosed, query.StorageUnavailable},
	{store.ErrExists, query.Precondition},
	{audit.ErrStopped, query.AuditUnavailable},
	{audit.ErrClosed, query.AuditUnavailable},
	{keys.ErrNotFound, query.Precondition},

	{peer.ErrInvite, query.Malformed},
	{peer.ErrRequest, query.Malformed},
	{peer.ErrExpired, query.Precondition},
	{peer.ErrStale, query.Precondition},
	{peer.ErrConflict, query.Precondition},
	{peer.ErrNotFederated, query.UnknownPeer},

	{agreement.ErrMalformed, query.Malformed},
	{agreement.ErrUnknown, query.NotFound},
	{agreement.ErrUnsigned, query.SignatureInvalid},
	{agreement.ErrSignature, query.SignatureInvalid},
	{agreement.ErrDigest, query.AgreementMismatch},
	{agreement.ErrParty, query.Precondition},

	{officer.ErrMalformed, query.Malformed},
	{officer.ErrOfficer, query.Malformed},
	{officer.ErrSignature, query.SignatureInvalid},
	{officer.ErrNotAdministrator, query.RoleRequired},
	{officer.ErrStale, query.Precondition},
	{officer.ErrChange, query.Precondition},
}

// refusal returns err as a [query.Refusal]. The end of a context stays what it
// is.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*query.Refusal](err); ok {
		return r
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return query.Refuse(r.reason, err)
		}
	}
	return query.Refuse(query.Internal, err)
}
