package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
)

// A Proposal is what became of a change of the register.
type Proposal struct {
	Applied  bool     // two administrators have signed, and the register is changed
	Digest   [32]byte // of the change
	SignedBy []string // SPIFFE IDs
	Expires  time.Time
	Officer  *officer.Officer // after the change, if it was made
}

// ProposeOfficerChange is one administrator's consent to a change of the
// register: the first makes it wait, and that of another to the same bytes makes
// it take effect. The caller is the administrator, change is an encoded
// [officer.Change], and signature is of [officer.SignChange].
//
// The consent is an entry of the internal log before it counts, and the new head
// of the register is another one.
func (a *Admin) ProposeOfficerChange(ctx context.Context, caller string, change, signature []byte) (*Proposal, error) {
	now := a.Now()
	who, err := a.withRole(caller, officer.RoleAdministrator, now)
	if err != nil {
		return nil, err
	}
	if len(change) > officer.MaxRecordSize {
		return nil, query.Refuse(query.TooLarge, officer.ErrMalformed)
	}
	c, err := officer.ParseChange(change)
	if err != nil {
		return nil, refusal(err)
	}
	d, err := c.Digest()
	if err != nil {
		return nil, refusal(err)
	}
	// What Propose checks too: an entry should say only what will count.
	if err := officer.Check(who.PublicKey, officer.PurposeChange, d, signature); err != nil {
		return nil, refusal(err)
	}

	a.registering.Lock()
	defer a.registering.Unlock()
	if sequence, head := a.Officers.Head(); c.Sequence != sequence+1 || c.Previous != head {
		return nil, refusal(officer.ErrStale)
	}
	p := &Proposal{Digest: d, Expires: c.Time.Add(officer.ProposalLife)}
	again := false
	for _, w := range a.Officers.Pending(now) {
		if wd, err := w.Change.Digest(); err == nil && wd == d {
			p.SignedBy = append(p.SignedBy, a.spiffeID(w.Consent.Administrator))
			again = again || w.Consent.Administrator == who.ID
		}
	}
	if !again {
		p.SignedBy = append(p.SignedBy, caller)
		if err := a.announce(ctx, a.Internal, who, entry.Entry{Kind: entry.KindRegister, Subject: d, Reason: "OFFICER_CONSENT"},
			func() (err error) {
				p.Applied, err = a.Officers.Propose(c, who.ID, signature, now)
				return err
			}); err != nil {
			return nil, err
		}
	}
	// From here on the register is changed. The rest must not be cut short.
	ctx = context.WithoutCancel(ctx)
	if p.Applied {
		reasons := map[officer.Kind]string{officer.Enrol: "OFFICER_ENROLLED", officer.Update: "OFFICER_UPDATED",
			officer.Retire: "OFFICER_RETIRED"}
		_, head := a.Officers.Head()
		if err := a.append(ctx, a.Internal, who, entry.Entry{Kind: entry.KindRegister, Subject: head,
			Reason: reasons[c.Kind]}); err != nil {
			return nil, errors.Join(err, a.storeProposals(ctx, now))
		}
		if o, ok := a.Officers.Lookup(c.Officer.ID); ok {
			p.Officer = &o
		}
	}
	if err := a.storeProposals(ctx, now); err != nil {
		return nil, refusal(err)
	}
	return p, nil
}

// spiffeID returns the SPIFFE ID of one of our officers.
func (a *Admin) spiffeID(id string) string {
	return peer.ID{TrustDomain: a.TrustDomain, Kind: peer.KindOfficer, Name: id}.String()
}

// A proposal is what is stored of a change that waits.
type proposal struct {
	Change        []byte
	Administrator string
	Signature     []byte
}

// storeProposals keeps the changes that wait, for a restart. The caller holds
// a.registering.
func (a *Admin) storeProposals(ctx context.Context, now time.Time) error {
	all := []proposal{}
	for _, p := range a.Officers.Pending(now) {
		b, err := p.Change.Bytes()
		if err != nil {
			return err
		}
		all = append(all, proposal{b, p.Consent.Administrator, p.Consent.Signature[:]})
	}
	return a.putJSON(ctx, "proposals", all)
}

// restoreProposals makes the changes that waited wait again. The register checks
// each like a new one: what is stale or has lapsed is dropped. None can take
// effect here, because each has the consent of one administrator.
func (a *Admin) restoreProposals(ctx context.Context) error {
	var all []proposal
	if err := a.getJSON(ctx, "proposals", &all); err != nil {
		return err
	}
	now := a.Now()
	seen := make(map[[32]byte]bool)
	for _, p := range all {
		c, err := officer.ParseChange(p.Change)
		if err != nil {
			return errors.New("admin: a stored proposal is damaged")
		}
		if key := sha256.Sum256(p.Change); !seen[key] {
			seen[key] = true
			if _, err := a.Officers.Propose(c, p.Administrator, p.Signature, now); err != nil {
				a.log.InfoContext(ctx, "proposal dropped", "err", err)
			}
		}
	}
	return nil
}

// A Register is the register of officers, as administrators see it.
type Register struct {
	Officers []officer.Officer // by id
	Pending  []PendingChange
	Sequence uint64   // of the last change
	Head     [32]byte // its digest: the previous of the next change
}

// A PendingChange is a change that one administrator has signed.
type PendingChange struct {
	Change   []byte
	Digest   [32]byte
	SignedBy string // SPIFFE ID
	Expires  time.Time
}

// ListOfficers returns the register: officers with a role, or all if role is
// empty, and retired ones only if retired is true. It holds personal data.
func (a *Admin) ListOfficers(ctx context.Context, role officer.Role, retired bool) (*Register, error) {
	now := a.Now()
	a.registering.Lock() // so that head and pending changes are of one moment
	defer a.registering.Unlock()
	r := &Register{}
	r.Sequence, r.Head = a.Officers.Head()
	for _, o := range a.Officers.List() {
		if !o.Retired.IsZero() && !retired {
			continue
		}
		has := role == ""
		for _, x := range o.Roles {
			has = has || x == role
		}
		if has {
			r.Officers = append(r.Officers, o)
		}
	}
	for _, p := range a.Officers.Pending(now) {
		b, err := p.Change.Bytes()
		if err != nil {
			return nil, refusal(err)
		}
		d, err := p.Change.Digest()
		if err != nil {
			return nil, refusal(err)
		}
		r.Pending = append(r.Pending, PendingChange{b, d, a.spiffeID(p.Consent.Administrator),
			p.Change.Time.Add(officer.ProposalLife)})
	}
	return r, nil
}
