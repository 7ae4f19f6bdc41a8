package admin

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
)

// An Agreement is one version of an agreement as this side holds it.
type Agreement struct {
	ID                  string
	Number              int
	Digest              agreement.Digest
	Parties             [2]string // trust domains
	Status              query.AgreementStatus
	NotBefore, NotAfter time.Time
	Signatures          []AgreementSignature
	File                []byte   // with the signatures there are
	SuspendedBy         []string // trust domains, sorted
	SuspendedReason     string   // of our own suspension
}

// An AgreementSignature is the signature of one party.
type AgreementSignature struct {
	Party    string // trust domain
	Officer  string // SPIFFE ID
	Verified bool   // signature and attestation verify with the pinned key
}

// signed returns the view of an agreement that is not in the register.
func (a *Admin) signed(g *agreement.Agreement) *Agreement {
	v := &Agreement{
		ID: g.ID, Number: g.Number, Digest: g.Digest(), Parties: [2]string{g.Parties[0].TrustDomain, g.Parties[1].TrustDomain},
		Status: query.Draft, NotBefore: g.Start, NotAfter: g.ValidTo, File: g.Bytes(),
	}
	keys := a.statementKeys(g)
	for _, s := range g.Signatures {
		v.Signatures = append(v.Signatures, AgreementSignature{s.TrustDomain, s.Officer,
			g.CheckSignature(s.TrustDomain, keys[s.TrustDomain]) == nil})
	}
	return v
}

// statementKeys returns the pinned keys of the parties that have one: ours, and
// that of a neighbour, also of one whose federation has ended.
func (a *Admin) statementKeys(g *agreement.Agreement) map[string]ed25519.PublicKey {
	keys := map[string]ed25519.PublicKey{a.TrustDomain: a.StatementKey.Public().(ed25519.PublicKey)}
	if other, err := g.Other(a.TrustDomain); err == nil {
		if p, ok := a.Federation.Peer(other.TrustDomain); ok {
			if key, err := peer.PublicKey(p.SigningKey); err == nil {
				keys[other.TrustDomain] = key
			}
		}
	}
	return keys
}

// registered returns the view of a version in the register.
func (a *Admin) registered(ctx context.Context, info *agreement.Info) (*Agreement, error) {
	v := a.signed(info.Agreement)
	v.SuspendedBy = info.SuspendedBy
	v.Status = facts.AgreementStatus(info)
	if slices.Contains(info.SuspendedBy, a.TrustDomain) {
		var s suspension
		if err := a.getJSON(ctx, "suspension/"+info.Agreement.ID, &s); err != nil {
			return nil, refusal(err)
		}
		v.SuspendedReason = s.Reason
	}
	return v, nil
}

// A suspension is what is stored of our own suspension of an agreement.
type suspension struct {
	Reason  string
	Officer string // pseudonym
	At      time.Time
}

// SignAgreement adds the signature of the caller, one of our legal officers, to an
// agreement file, and our attestation that the officer is one. The signature is
// over [agreement.SigningBytes], with the officer's own key.
//
// The agreement must be complete, and say of both parties what we know of them: a
// refusal whose cause is [ErrTerms] otherwise. A signature of the other party that
// is there must verify.
func (a *Admin) SignAgreement(ctx context.Context, caller string, file, signature []byte) (*Agreement, error) {
	now := a.Now()
	who, err := a.withRole(caller, officer.RoleLegal, now)
	if err != nil {
		return nil, err
	}
	g, err := a.complete(file, now)
	if err != nil {
		return nil, err
	}
	keys := a.statementKeys(g)
	for _, s := range g.Signatures {
		if s.TrustDomain == a.TrustDomain {
			continue // it is replaced
		}
		if err := g.CheckSignature(s.TrustDomain, keys[s.TrustDomain]); err != nil {
			return nil, refusal(err)
		}
	}
	if err := g.AddSignature(a.TrustDomain, caller, who.PublicKey, signature, a.StatementKey); err != nil {
		return nil, refusal(err)
	}
	// The signature is not given out before there is a record of it.
	if err := a.append(ctx, a.Internal, who, a.entryOf(g, "AGREEMENT_SIGNED")); err != nil {
		return nil, err
	}
	return a.signed(g), nil
}

// complete parses the file of an agreement that may be signed, with a neighbour.
func (a *Admin) complete(file []byte, now time.Time) (*agreement.Agreement, error) {
	g, err := agreement.Parse(file)
	if err != nil {
		return nil, refusal(err)
	}
	if err := g.Complete(); err != nil {
		return nil, query.Refuse(query.Malformed, err)
	}
	other, err := g.Other(a.TrustDomain)
	if err != nil {
		return nil, refusal(err)
	}
	p, ok := a.Federation.Peer(other.TrustDomain)
	if !ok || p.State != peer.Active {
		return nil, query.Refuse(query.UnknownPeer, peer.ErrNotFederated)
	}
	if !now.Before(g.ValidTo) {
		return nil, query.Refuse(query.AgreementExpired, agreement.ErrExpired)
	}
	faults, err := a.contradictions(g, &p)
	if err != nil {
		return nil, refusal(err)
	}
	if len(faults) > 0 {
		return nil, query.Refuse(query.Precondition, fmt.Errorf("%w: %d faults, the first: %s", ErrTerms, len(faults), faults[0]))
	}
	return g, nil
}

// entryOf returns the entry of something that happened to an agreement.
func (a *Admin) entryOf(g *agreement.Agreement, reason string) entry.Entry {
	d := g.Digest()
	e := entry.Entry{Kind: entry.KindAgreement, Agreement: g.ID, AgreementDigest: d, Subject: d, Asker: a.Gateway, Reason: reason}
	if other, err := g.Other(a.TrustDomain); err == nil {
		e.Holder = other.Gateway
	}
	return e
}

// AcceptAgreement puts an agreement into force that legal officers of both
// parties have signed, each attested by the statement key of their gateway: ours,
// and the one pinned by the neighbour's invite. It is idempotent. Our collections
// are then published in the background.
func (a *Admin) AcceptAgreement(ctx context.Context, caller string, file []byte) (*Agreement, error) {
	now := a.Now()
	who, err := a.withRole(caller, officer.RoleLegal, now)
	if err != nil {
		return nil, err
	}
	// Before the federation is looked at: one that ends from now on finds the
	// agreement in the register, and suspends it.
	a.accepting.Lock()
	defer a.accepting.Unlock()
	g, err := a.complete(file, now)
	if err != nil {
		return nil, err
	}
	if err := g.CheckSignatures(a.statementKeys(g)); err != nil {
		return nil, refusal(err)
	}
	d := g.Digest()
	if info := a.find(g.ID, g.Number); info == nil || info.Digest != d {
		if err := a.announce(ctx, a.Shared, who, a.entryOf(g, "AGREEMENT_ACCEPTED"), func() error {
			_, err := a.Agreements.Put(file, d)
			return err
		}); err != nil {
			return nil, err
		}
	}
	if other, err := g.Other(a.TrustDomain); err == nil {
		td := other.TrustDomain
		a.background(func(ctx context.Context) { a.publish(ctx, td, "", nil) })
	}
	return a.Agreement(ctx, g.ID, g.Number)
}

// find returns one version in the register, or nil. Number 0 is the version in
// effect, or the first if none is yet.
func (a *Admin) find(id string, number int) *agreement.Info {
	for _, info := range a.Agreements.List(a.Now()) { // by id and number
		if info.Agreement.ID == id && (number == info.Agreement.Number || number == 0 && !info.Superseded) {
			return &info
		}
	}
	return nil
}

// Agreement returns one version of an agreement with its file. Number 0 is the
// version in effect.
func (a *Admin) Agreement(ctx context.Context, id string, number int) (*Agreement, error) {
	info := a.find(id, number)
	if info == nil {
		return nil, query.Refuse(query.NotFound, agreement.ErrUnknown)
	}
	return a.registered(ctx, info)
}

// ListAgreements returns the agreements, by id and number: those with one
// neighbour, or all if trustDomain is empty; superseded versions and expired
// agreements only if past is true. The files are left out.
func (a *Admin) ListAgreements(ctx context.Context, trustDomain string, past bool) ([]Agreement, error) {
	var all []Agreement
	for _, info := range a.Agreements.List(a.Now()) {
		if !past && (info.Superseded || info.State == agreement.Expired) {
			continue
		}
		if trustDomain != "" {
			if other, err := info.Agreement.Other(a.TrustDomain); err != nil || other.TrustDomain != trustDomain {
				continue
			}
		}
		v, err := a.registered(ctx, &info)
		if err != nil {
			return nil, err
		}
		v.File = nil
		all = append(all, *v)
	}
	return all, nil
}

// SuspendAgreement stops queries under an agreement, both ways: every query that
// begins afterwards is refused by us. It takes effect before anything else is
// tried. An error means that the suspension, which holds, was not stored or not
// logged: call SuspendAgreement again. The other side is not told why.
func (a *Admin) SuspendAgreement(ctx context.Context, caller, id, reason string) (*Agreement, error) {
	who, err := a.withRole(caller, officer.RoleLegal, a.Now())
	if err != nil {
		return nil, err
	}
	if len(reason) > MaxReason {
		return nil, query.Refuse(query.TooLarge, ErrTooLong)
	}
	if err := a.suspend(context.WithoutCancel(ctx), who, id, reason); err != nil {
		return nil, refusal(err)
	}
	return a.Agreement(ctx, id, 0)
}

func (a *Admin) suspend(ctx context.Context, who officer.Officer, id, reason string) error {
	info := a.find(id, 0)
	if info == nil {
		return fmt.Errorf("%w: %q", agreement.ErrUnknown, id)
	}
	err := insist(ctx, func() error { return a.Agreements.Suspend(id, a.TrustDomain) })
	return errors.Join(err,
		a.append(ctx, a.Shared, who, a.entryOf(info.Agreement, "AGREEMENT_SUSPENDED")),
		a.putJSON(ctx, "suspension/"+id, suspension{reason, pseudonym(a.Pseudonym(who.ID)), a.Now().UTC()}))
}

// ResumeAgreement ends our suspension of an agreement. A suspension by the other
// side stays. It is refused while the federation is ended.
func (a *Admin) ResumeAgreement(ctx context.Context, caller, id, reason string) (*Agreement, error) {
	who, err := a.withRole(caller, officer.RoleLegal, a.Now())
	if err != nil {
		return nil, err
	}
	if len(reason) > MaxReason {
		return nil, query.Refuse(query.TooLarge, ErrTooLong)
	}
	info := a.find(id, 0)
	if info == nil {
		return nil, query.Refuse(query.NotFound, agreement.ErrUnknown)
	}
	if other, err := info.Agreement.Other(a.TrustDomain); err != nil || !a.Federation.Active(other.TrustDomain) {
		return nil, query.Refuse(query.UnknownPeer, peer.ErrNotFederated)
	}
	if slices.Contains(info.SuspendedBy, a.TrustDomain) {
		if err := a.announce(ctx, a.Shared, who, a.entryOf(info.Agreement, "AGREEMENT_RESUMED"), func() error {
			return a.Agreements.Resume(id, a.TrustDomain)
		}); err != nil {
			return nil, err
		}
		if err := a.putJSON(ctx, "suspension/"+id, suspension{reason, pseudonym(a.Pseudonym(who.ID)), a.Now().UTC()}); err != nil {
			return nil, refusal(err)
		}
	}
	return a.Agreement(ctx, id, 0)
}
