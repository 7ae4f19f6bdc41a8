package admin

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
)

const (
	// InviteLife is how long our invites may be accepted.
	InviteLife = 30 * 24 * time.Hour

	// MaxReason is the longest reason that somebody gives, in bytes.
	MaxReason = 256
)

// An Invite is our invite file.
type Invite struct {
	File        []byte
	Fingerprint string // to read out on the telephone
	NotAfter    time.Time
}

// Invite makes our invite for a neighbour. It commits to the current key of each
// of our collections.
func (a *Admin) Invite(ctx context.Context, caller string) (*Invite, error) {
	now := a.Now()
	if _, err := a.officerOf(caller, now); err != nil {
		return nil, err
	}
	authorities, err := a.Authorities()
	if err != nil {
		return nil, refusal(err)
	}
	commitments, err := a.Keys.OwnCommitments()
	if err != nil {
		return nil, refusal(err)
	}
	slices.SortFunc(commitments, func(x, y peer.KeyCommitment) int {
		return cmp.Or(cmp.Compare(x.Collection, y.Collection), cmp.Compare(x.Epoch, y.Epoch))
	})
	created := now.UTC().Truncate(time.Second)
	i := &peer.Invite{
		Version: peer.InviteVersion, TrustDomain: a.TrustDomain, GatewayID: a.Gateway, Endpoint: a.Endpoint,
		Country: a.Country, Agency: a.Agency, AgencyCode: strings.ToLower(a.AgencyCode), Profile: a.Profile, BundleURL: a.BundleURL,
		SigningKey: a.StatementVerifier, LogKey: a.LogVerifier, WitnessKey: a.WitnessVerifier,
		Created: created, NotAfter: created.Add(InviteLife), KeyCommitments: commitments, BundleAuthorities: authorities,
	}
	if err := i.Sign(a.StatementKey); err != nil {
		return nil, query.Refuse(query.Internal, err) // our configuration, not the caller
	}
	file, err := i.Bytes()
	if err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	return &Invite{File: file, Fingerprint: i.Fingerprint(), NotAfter: i.NotAfter}, nil
}

// AcceptInvite adds the neighbour who made an invite file, or replaces what is
// known of it. The fingerprint must be what people have compared over another
// channel; another one is a refusal whose cause is [ErrFingerprint].
//
// Agreements with a neighbour that comes with another signing key are suspended on
// our side: legal officers attested them under the key that it had, and resume them
// when they know why it changed.
func (a *Admin) AcceptInvite(ctx context.Context, caller string, file []byte, fingerprint string) (*Peer, error) {
	now := a.Now()
	who, err := a.officerOf(caller, now)
	if err != nil {
		return nil, err
	}
	i, err := peer.ParseInvite(file)
	if err != nil {
		return nil, refusal(err)
	}
	if subtle.ConstantTimeCompare([]byte(i.Fingerprint()), []byte(fingerprint)) != 1 {
		return nil, query.Refuse(query.Precondition, ErrFingerprint)
	}
	if err := i.CheckTime(now); err != nil {
		return nil, refusal(err)
	}
	a.accepting.Lock()
	defer a.accepting.Unlock()
	if known, ok := a.Federation.Peer(i.TrustDomain); ok && known.SigningKey != i.SigningKey {
		if err := a.suspendAll(context.WithoutCancel(ctx), who, i.TrustDomain, "the neighbour has another signing key", &EndedPeer{}); err != nil {
			return nil, refusal(err)
		}
	}
	var p peer.Peer
	e := entry.Entry{Kind: entry.KindFederation, Asker: a.Gateway, Holder: i.GatewayID, Subject: digest("invite", file),
		Reason: "FEDERATION_ADDED"}
	if err := a.announce(ctx, a.Shared, who, e, func() (err error) {
		p, err = a.Federation.Accept(i, now)
		return err
	}); err != nil {
		return nil, err
	}
	a.log.InfoContext(ctx, "peer added", "peer", p.TrustDomain)
	return a.peer(ctx, &p)
}

// A PeerState is how a federation is.
type PeerState uint8

// The states of a federation. The zero PeerState is [PeerNew]'s.
const (
	PeerNew          PeerState = iota // nothing was exchanged yet
	PeerOK                            // it works
	PeerUnreachable                   // nothing answers
	PeerIncompatible                  // no version in common
	PeerDistrusted                    // it broke the protocol; an operator must look
	PeerEnded                         // ended by an operator
)

// A Peer is a neighbour, as operators see it.
type Peer struct {
	peer.Peer
	Contact

	State          PeerState
	LogSize        uint64    // of its newest checkpoint that we verified
	CheckpointTime time.Time // when that was verified
	Lists          []HeldList
}

// A HeldList is our copy of one collection of a neighbour.
type HeldList struct {
	Collection  string
	ListVersion uint64
	Published   time.Time // when the neighbour built it
	Tags        uint64    // in all classes, decoys included
	Bytes       uint64    // on disk
	NotAfter    time.Time
}

// Peers returns the neighbours, by trust domain; also those whose federation was
// ended, if ended is true.
func (a *Admin) Peers(ctx context.Context, ended bool) ([]Peer, error) {
	var all []Peer
	for _, p := range a.Federation.Peers() {
		if p.State == peer.Ended && !ended {
			continue
		}
		v, err := a.peer(ctx, &p)
		if err != nil {
			return nil, err
		}
		all = append(all, *v)
	}
	return all, nil
}

// peer returns what operators see of p.
func (a *Admin) peer(ctx context.Context, p *peer.Peer) (*Peer, error) {
	v := &Peer{Peer: *p}
	if a.Contact != nil {
		v.Contact = a.Config.Contact(p.TrustDomain)
		v.State = v.Contact.State
	}
	if v.BundleVerified.IsZero() {
		v.BundleVerified = p.Updated
	}
	forks, err := a.Store.Forks(ctx)
	if err != nil {
		return nil, refusal(err)
	}
	if slices.ContainsFunc(forks, func(f store.Fork) bool { return f.Side == store.Accepted && f.Peer == p.TrustDomain }) {
		v.State = PeerDistrusted
		v.Sentence = "It showed two different tag sets under one version. Both are kept as evidence: call its operator."
	}
	if p.State == peer.Ended {
		v.State = PeerEnded
		v.Sentence = "Ended " + p.Ended.UTC().Format(time.RFC3339) + ". To federate again, both sides exchange new invites."
	}
	origin, _, _ := strings.Cut(p.LogKey, "+")
	switch c, err := a.Store.FollowedCheckpoint(ctx, origin); {
	case err == nil:
		v.LogSize, v.CheckpointTime = c.Size, c.At
	case !errors.Is(err, store.ErrNotFound):
		return nil, refusal(err)
	}
	key, err := peer.PublicKey(p.SigningKey)
	if err != nil {
		return nil, query.Refuse(query.Internal, err)
	}
	for _, name := range a.collectionsOf(p.TrustDomain) {
		l, err := a.held(ctx, p.TrustDomain, name, key)
		if err != nil {
			return nil, refusal(err)
		}
		if l != nil {
			v.Lists = append(v.Lists, *l)
		}
	}
	return v, nil
}

// collectionsOf returns the collections of a neighbour that any agreement has
// named, sorted.
func (a *Admin) collectionsOf(trustDomain string) []string {
	var all []string
	for _, info := range a.Agreements.List(a.Now()) {
		for _, c := range info.Agreement.Held(trustDomain) {
			all = append(all, c.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// held returns our copy of a collection, or nil if there is none.
func (a *Admin) held(ctx context.Context, trustDomain, collection string, key ed25519.PublicKey) (*HeldList, error) {
	heads, err := a.Store.Heads(ctx, store.Accepted, trustDomain, collection)
	if err != nil {
		return nil, err
	}
	l := &HeldList{Collection: collection}
	segments := 0
	for i := range heads {
		signed, err := psi.CheckManifest(heads[i].Manifest, key)
		if err != nil {
			return nil, fmt.Errorf("admin: stored manifest: %w", err)
		}
		m := &signed.Manifest
		segments += len(heads[i].Segments)
		l.ListVersion, l.Published = m.Version, m.Created
		l.Tags += uint64(m.Count)
		for _, s := range m.Segments {
			l.Bytes += s.Size
		}
		if l.NotAfter.IsZero() || m.NotAfter.Before(l.NotAfter) {
			l.NotAfter = m.NotAfter
		}
	}
	if segments == 0 { // manifests stay when the sets are deleted
		return nil, nil
	}
	return l, nil
}

// An EndedPeer says what the end of a federation deleted.
type EndedPeer struct {
	Ended       time.Time
	Collections []string // whose tag sets were deleted
	Agreements  []string // that were suspended
	Receipt     [32]byte // digest of the purge receipt, as in the log
}

// A purge is what is stored of the end of a federation: the receipt, and who
// ended it and why, which is not part of it.
type purge struct {
	Collections, Agreements []string
	Segments                []string // hashes of what was deleted, in hex, sorted
	Reason                  string
	Officer                 string // pseudonym
}

// add adds what one call has deleted and suspended.
func (p *purge) add(out *EndedPeer, segments [][32]byte) {
	for _, s := range segments {
		p.Segments = append(p.Segments, hex.EncodeToString(s[:]))
	}
	p.Collections, p.Agreements = append(p.Collections, out.Collections...), append(p.Agreements, out.Agreements...)
	for _, list := range []*[]string{&p.Collections, &p.Agreements, &p.Segments} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// EndPeer ends the federation with a neighbour: it is refused at once and on open
// streams too, our copies of its tag sets are deleted, and the agreements with it
// are suspended on our side.
//
// All of that happens before the entry is written, and whatever fails does not
// keep the rest from happening. An error means that a part was not made durable,
// deleted or logged: call EndPeer again.
func (a *Admin) EndPeer(ctx context.Context, caller, trustDomain, reason string) (*EndedPeer, error) {
	who, err := a.officerOf(caller, a.Now())
	if err != nil {
		return nil, err
	}
	if len(reason) > MaxReason {
		return nil, query.Refuse(query.TooLarge, ErrTooLong)
	}
	known, ok := a.Federation.Peer(trustDomain)
	if !ok {
		return nil, query.Refuse(query.NotFound, peer.ErrNotFederated)
	}
	var errs []error
	failed := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	// What has begun is finished, also if the caller goes away.
	ctx = context.WithoutCancel(ctx)
	failed(insist(ctx, func() error { return a.Federation.End(trustDomain, a.Now()) }))
	a.Library.Drop(trustDomain)
	a.accepting.Lock() // what waits for it finds the federation ended
	defer a.accepting.Unlock()
	out := &EndedPeer{}
	if p, ok := a.Federation.Peer(trustDomain); ok {
		out.Ended = p.Ended
	}
	var segments [][32]byte
	for _, name := range a.collectionsOf(trustDomain) {
		hashes, err := a.Store.DropSets(ctx, store.Accepted, trustDomain, name)
		failed(err)
		if len(hashes) > 0 {
			out.Collections = append(out.Collections, name)
		}
		segments = append(segments, hashes...)
	}
	// Whatever no agreement has named.
	rest, err := a.Store.DropSets(ctx, store.Accepted, trustDomain, "")
	failed(err)
	segments = append(segments, rest...)
	failed(a.suspendAll(ctx, who, trustDomain, "the federation was ended", out))

	// What an earlier call deleted and could not log is part of this receipt.
	name := "ended/" + trustDomain + "/" + strconv.FormatInt(out.Ended.UnixMilli(), 10)
	var stored purge
	failed(a.getJSON(ctx, name, &stored))
	stored.add(out, segments)
	stored.Reason, stored.Officer = cmp.Or(reason, stored.Reason), pseudonym(a.Pseudonym(who.ID))
	out.Collections, out.Agreements = stored.Collections, stored.Agreements
	out.Receipt = purgeReceipt(trustDomain, out.Ended, stored.Segments)
	failed(a.putJSON(ctx, name, stored))
	failed(a.append(ctx, a.Shared, who, entry.Entry{Kind: entry.KindFederation, Asker: a.Gateway, Holder: known.Gateways[0],
		Subject: out.Receipt, Reason: "FEDERATION_ENDED"}))
	if len(errs) > 0 {
		return nil, refusal(errors.Join(errs...))
	}
	a.log.InfoContext(ctx, "federation ended", "peer", trustDomain, "lists_deleted", len(out.Collections))
	return out, nil
}

// suspendAll suspends the agreements with a neighbour on our side.
func (a *Admin) suspendAll(ctx context.Context, who officer.Officer, trustDomain, reason string, out *EndedPeer) error {
	var errs []error
	for _, info := range a.Agreements.List(a.Now()) {
		id := info.Agreement.ID
		if _, err := info.Agreement.Party(trustDomain); err != nil || slices.Contains(out.Agreements, id) {
			continue
		}
		out.Agreements = append(out.Agreements, id)
		if slices.Contains(info.SuspendedBy, a.TrustDomain) {
			continue
		}
		errs = append(errs, a.suspend(ctx, who, id, reason))
	}
	return errors.Join(errs...)
}

// purgeReceipt returns the digest of what was deleted:
//
//	SHA-256("passerelle/v1 purge receipt" || 0x00 || PurgeReceipt)
//
//	struct {
//	    opaque trust_domain<0..2^16-1>;
//	    uint64 ended;                  // milliseconds since the Unix epoch
//	    opaque segments[64][n];        // SHA-256 of each deleted segment, in lower-case hex, sorted
//	} PurgeReceipt;
func purgeReceipt(trustDomain string, ended time.Time, segments []string) [32]byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(trustDomain)))
	b = append(b, trustDomain...)
	b = binary.BigEndian.AppendUint64(b, uint64(ended.UnixMilli()))
	for _, s := range segments {
		b = append(b, s...)
	}
	return digest("purge receipt", b)
}

// pseudonym returns a pseudonym as it is stored.
func pseudonym(p [16]byte) string { return hex.EncodeToString(p[:]) }
