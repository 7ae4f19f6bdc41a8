package officer

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// ProposalLife is how long a change may wait for the second administrator.
	ProposalLife = 7 * 24 * time.Hour

	// MaxProposals is how many changes of one administrator may wait at a time.
	MaxProposals = 16

	// MaxOfficers is how many officers a register holds, retired ones included.
	MaxOfficers = 100_000

	// skew is how far the time of a change may be ahead of our clock.
	skew = 5 * time.Minute
)

var (
	// ErrStale is returned for a change that is not the next one: another change
	// took effect first, or it waited for longer than ProposalLife, or is from
	// the future. It must be made and signed anew.
	ErrStale = errors.New("officer: change is not the next one")

	// ErrNotAdministrator is returned when who proposes is not an administrator.
	ErrNotAdministrator = errors.New("officer: not an administrator")

	// ErrBroken is returned by Load when the records are not what two
	// administrators signed after another, or do not start with the founding. It
	// is a state that no retry repairs.
	ErrBroken = errors.New("officer: register is broken")
)

// A Register is the register of officers of one gateway.
type Register struct {
	save     func(record []byte) error
	founding [32]byte

	mu       sync.RWMutex
	officers map[string][]version // versions in order of time, never empty
	admins   map[string]bool      // ids of the administrators in service
	keys     map[string]string    // every key that ever was, and whose
	sequence uint64               // of the last record; 0 is the founding
	head     [32]byte             // its digest
	time     time.Time            // when it took effect
	pending  []Proposal           // in order of arrival
}

// A version is an officer from one time on.
type version struct {
	from    time.Time
	officer Officer
}

// A Proposal is a change that waits for the second administrator. Proposals are
// kept in memory. Callers may store them and Propose them again after a restart.
type Proposal struct {
	Change  Change
	Consent Consent
}

// Load replays the records of a register in their order, the founding first, and
// checks every signature. founding is the digest that [Found] returned.
//
// save is called with each new record before it takes effect. It returns nil
// only when the record is durable. A nil save makes a register that cannot be
// changed.
//
// It returns an error wrapping [ErrBroken] if anything is wrong with the
// records. Callers should compare [Register.Head] with the audit log.
func Load(records [][]byte, founding [32]byte, save func(record []byte) error) (*Register, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: no founding", ErrBroken)
	}
	f, err := ParseFounding(records[0])
	if err != nil || foundingDigest(records[0]) != founding {
		return nil, fmt.Errorf("%w: not the founding of this register", ErrBroken)
	}
	r := &Register{
		save: save, founding: founding, head: founding, time: f.Time,
		officers: make(map[string][]version), admins: make(map[string]bool), keys: make(map[string]string),
	}
	for _, o := range f.Administrators {
		r.set(o, f.Time)
	}
	for n, b := range records[1:] {
		rec, err := ParseRecord(b)
		if err != nil {
			return nil, fmt.Errorf("%w: record %d: %v", ErrBroken, n+1, err)
		}
		if err := r.replay(rec, recordDigest(b)); err != nil {
			return nil, fmt.Errorf("%w: record %d: %v", ErrBroken, n+1, err)
		}
	}
	return r, nil
}

// replay applies a stored record.
func (r *Register) replay(rec Record, head [32]byte) error {
	digest, err := r.checkNext(rec.Change)
	if err != nil {
		return err
	}
	// ParseRecord made sure that these are two.
	for _, c := range rec.Consents {
		if err := r.checkConsent(digest, c); err != nil {
			return err
		}
	}
	if rec.Effective.Before(r.time) || !timely(rec.Change.Time, rec.Effective) {
		return fmt.Errorf("%w: time", ErrChange)
	}
	r.apply(rec, head)
	return nil
}

// checkConsent verifies the signature of one administrator under a change.
func (r *Register) checkConsent(digest [32]byte, c Consent) error {
	o, ok := r.current(c.Administrator)
	if !ok || !r.admins[c.Administrator] {
		return ErrNotAdministrator
	}
	return Check(o.PublicKey, PurposeChange, digest, c.Signature[:])
}

// checkNext returns the digest of c if it may be the next change.
func (r *Register) checkNext(c Change) ([32]byte, error) {
	digest, err := c.Digest()
	if err != nil {
		return [32]byte{}, err
	}
	if c.Sequence != r.sequence+1 || c.Previous != r.head {
		return [32]byte{}, ErrStale
	}
	bad := func(text string) ([32]byte, error) { return [32]byte{}, fmt.Errorf("%w: %s", ErrChange, text) }
	o := c.Officer
	old, known := r.current(o.ID)
	switch c.Kind {
	case Enrol:
		if known {
			return bad("the id was given before")
		}
		if len(r.officers) >= MaxOfficers {
			return bad("the register is full")
		}
	case Update, Retire:
		if !known || !old.Retired.IsZero() {
			return bad("no such officer, or retired")
		}
	}
	if c.Kind != Retire {
		// A key stands for one officer, and an old key may have been lost.
		if _, used := r.keys[string(o.PublicKey)]; used && !(known && o.PublicKey.Equal(old.PublicKey)) {
			return bad("the key was used before")
		}
	}
	if n := r.administrators(o.ID); n < 1 || n < 2 && (c.Kind == Retire || !o.hasRole(RoleAdministrator)) {
		return bad("fewer than two administrators would be left")
	}
	return digest, nil
}

// administrators counts the administrators in service, without the one given.
func (r *Register) administrators(without string) int {
	n := len(r.admins)
	if r.admins[without] {
		n--
	}
	return n
}

func (r *Register) current(id string) (Officer, bool) {
	vs := r.officers[id]
	if len(vs) == 0 {
		return Officer{}, false
	}
	return vs[len(vs)-1].officer, true
}

// set makes o the current version of an officer.
func (r *Register) set(o Officer, from time.Time) {
	o = o.clone()
	if old, ok := r.current(o.ID); ok {
		o.Enrolled = old.Enrolled
	} else {
		o.Enrolled = from
	}
	r.officers[o.ID] = append(r.officers[o.ID], version{from, o})
	r.keys[string(o.PublicKey)] = o.ID
	if o.Retired.IsZero() && o.hasRole(RoleAdministrator) {
		r.admins[o.ID] = true
	} else {
		delete(r.admins, o.ID)
	}
}

func (r *Register) apply(rec Record, head [32]byte) {
	o := rec.Change.Officer
	if rec.Change.Kind == Retire {
		o, _ = r.current(o.ID)
		o.Retired = rec.Effective
	}
	r.set(o, rec.Effective)
	r.sequence, r.head, r.time = rec.Change.Sequence, head, rec.Effective
	r.pending = nil // every one of them was for this sequence
}

// timely reports whether a change that was made at one time may take effect, or
// wait for it, at another.
func timely(made, now time.Time) bool {
	return !made.After(now.Add(skew)) && !made.Before(now.Add(-ProposalLife))
}

// NewChange returns the next change, for administrators to sign. o need not be
// sorted; for Retire only its ID counts.
//
// Whether the change is possible is checked by [Register.Propose].
func (r *Register) NewChange(kind Kind, o Officer, now time.Time) Change {
	r.mu.RLock()
	defer r.mu.RUnlock()
	o.Enrolled, o.Retired = time.Time{}, time.Time{}
	if kind == Retire {
		o = Officer{ID: o.ID}
	}
	return Change{ChangeVersion, kind, r.sequence + 1, r.head, now.UTC().Truncate(time.Second), o.sorted()}
}

// Propose is one administrator's consent to a change. sig is of [SignChange].
//
// The first consent makes the change wait; the consent of another administrator
// to the same bytes makes it take effect, and then done is true and the record
// is durable. All other changes that wait are dropped then, because they are no
// longer the next one. Consenting twice changes nothing.
//
// It returns an error wrapping [ErrStale], [ErrChange], [ErrOfficer],
// [ErrNotAdministrator] or [ErrSignature], or that of the save function. Then
// nothing changed.
func (r *Register) Propose(c Change, administrator string, sig []byte, now time.Time) (done bool, err error) {
	if r.save == nil {
		return false, errors.New("officer: register cannot be changed")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	digest, err := r.checkNext(c)
	if err != nil {
		return false, err
	}
	effective := now.UTC().Truncate(time.Second)
	if effective.Before(r.time) {
		effective = r.time // our clock went back a little
	}
	if !timely(c.Time, effective) {
		return false, ErrStale
	}
	if len(sig) != SignatureSize {
		return false, ErrSignature
	}
	consent := Consent{administrator, [SignatureSize]byte(sig)}
	if err := r.checkConsent(digest, consent); err != nil {
		return false, err
	}

	r.expire(now)
	waiting := 0
	for _, p := range r.pending {
		if p.Consent.Administrator == administrator {
			waiting++
		}
		d, err := p.Change.Digest()
		if err != nil {
			return false, fmt.Errorf("officer: digest of a waiting change: %w", err)
		}
		if d != digest {
			continue
		}
		if p.Consent.Administrator == administrator {
			return false, nil
		}
		rec := Record{Change: c, Effective: effective, Consents: [2]Consent{p.Consent, consent}}
		if rec.Consents[0].Administrator > rec.Consents[1].Administrator {
			rec.Consents[0], rec.Consents[1] = rec.Consents[1], rec.Consents[0]
		}
		b, err := rec.Bytes()
		if err != nil {
			return false, err
		}
		if err := r.save(b); err != nil {
			return false, fmt.Errorf("officer: storing a change: %w", err)
		}
		r.apply(rec, recordDigest(b))
		return true, nil
	}
	if waiting >= MaxProposals {
		return false, fmt.Errorf("%w: %d changes are waiting already", ErrChange, waiting)
	}
	c.Officer = c.Officer.clone()
	r.pending = append(r.pending, Proposal{c, consent})
	return false, nil
}

// expire drops proposals that waited for too long. The caller holds r.mu.
func (r *Register) expire(now time.Time) {
	r.pending = slices.DeleteFunc(r.pending, func(p Proposal) bool {
		return !timely(p.Change.Time, now)
	})
}

// Pending returns the changes that wait for a second administrator, in the order
// in which they came.
func (r *Register) Pending(now time.Time) []Proposal {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	ps := slices.Clone(r.pending)
	for n := range ps {
		ps[n].Change.Officer = ps[n].Change.Officer.clone()
	}
	return ps
}

// Founding returns the digest of the founding.
func (r *Register) Founding() [32]byte { return r.founding }

// Head returns the sequence and the digest of the last record, for the audit
// log. Sequence zero is the founding.
func (r *Register) Head() (sequence uint64, digest [32]byte) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.sequence, r.head
}

// Lookup returns an officer as last changed, retired or not.
func (r *Register) Lookup(id string) (Officer, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	o, ok := r.current(id)
	return o.clone(), ok
}

// LookupAt returns an officer as it was at a time in the past, so that old
// signatures can be checked with the key of their time. It returns false if the
// officer was not enrolled then; one who was retired then has Retired set.
func (r *Register) LookupAt(id string, at time.Time) (Officer, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	vs := r.officers[id]
	for n := len(vs) - 1; n >= 0; n-- {
		if !at.Before(vs[n].from) {
			return vs[n].officer.clone(), true
		}
	}
	return Officer{}, false
}

// List returns all officers as last changed, retired or not, sorted by ID.
func (r *Register) List() []Officer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	os := make([]Officer, 0, len(r.officers))
	for id := range r.officers {
		o, _ := r.current(id)
		os = append(os, o.clone())
	}
	slices.SortFunc(os, func(a, b Officer) int { return strings.Compare(a.ID, b.ID) })
	return os
}

// HasRole reports whether an officer is in service and has a role at now.
func (r *Register) HasRole(id string, role Role, now time.Time) bool {
	o, ok := r.LookupAt(id, now)
	return ok && o.at(now) && o.hasRole(role)
}

// HasKey reports whether an officer is in service and has the given key at now.
// Callers must ask this of the key in a client certificate on every call,
// because a certificate outlives a retirement by up to an hour.
func (r *Register) HasKey(id string, pub ed25519.PublicKey, now time.Time) bool {
	o, ok := r.LookupAt(id, now)
	return ok && o.at(now) && o.PublicKey.Equal(pub)
}

// Trained reports whether an officer is in service and the training in a course
// has not lapsed at now.
func (r *Register) Trained(id, course string, now time.Time) bool {
	o, ok := r.LookupAt(id, now)
	return ok && o.at(now) && slices.ContainsFunc(o.Trained, func(t Training) bool {
		return t.Course == course && now.Before(t.Until)
	})
}
