package agreement

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Change is what a [Registry] reports so that it can be made durable.
type Change struct {
	ID     string
	Number int    // of a new version; 0 if only suspension changed
	Digest Digest // of the new version
	File   []byte // of the new version

	// SuspendedBy are the trust domains that have suspended the agreement after
	// the change, sorted.
	SuspendedBy []string
}

// An Info is one version in a registry, with its state.
type Info struct {
	Agreement   *Agreement
	Digest      Digest
	State       State
	Superseded  bool // a later version has taken effect
	SuspendedBy []string
}

// A Registry holds the agreements of one gateway in memory. Its methods may be
// called concurrently; a suspension binds every call that begins after Suspend
// was called.
type Registry struct {
	self string
	save func(Change) error

	// changing is held during a change, so that save sees changes in order. mu
	// guards the rest.
	changing sync.Mutex
	mu       sync.RWMutex
	byID     map[string]*lineage
}

// A lineage is all versions of one agreement, by number, ascending.
type lineage struct {
	versions    []version
	suspendedBy map[string]bool
}

type version struct {
	agreement *Agreement
	digest    Digest
	file      []byte
}

// NewRegistry returns an empty registry of the gateway of trust domain self.
//
// Each change is passed to save, if it is not nil. A new version becomes visible
// only after save returned nil. A suspension takes effect before save is called,
// and stays if save fails: an agreement is never used because a disk is full. A
// resumption takes effect only after save returned nil. Save must not call the
// registry.
func NewRegistry(self string, save func(Change) error) *Registry {
	return &Registry{self: self, save: save, byID: make(map[string]*lineage)}
}

// Put adds a version that is signed by both parties. It is idempotent.
//
// The caller must have verified the signatures with [Agreement.CheckSignatures]
// when it accepted the file, and must have kept digest since: digest binds the
// file from then on, also when the gateway keys have changed. It returns an error
// wrapping [ErrDigest] if the file is not what digest names, if another version
// with that number is known, or if it does not supersede the version before;
// [ErrParty] if we are no party, or not the parties of the earlier versions;
// [ErrUnsigned]; or the faults of the agreement.
func (r *Registry) Put(file []byte, digest Digest) (*Agreement, error) {
	a, err := Parse(file)
	if err != nil {
		return nil, err
	}
	if a.Digest() != digest {
		return nil, fmt.Errorf("%w: file of %q", ErrDigest, a.ID)
	}
	if err := a.validate(true); err != nil {
		return nil, err
	}
	if _, err := a.Party(r.self); err != nil {
		return nil, err
	}
	for i := range a.Parties {
		if !a.SignedBy(a.Parties[i].TrustDomain) {
			return nil, fmt.Errorf("%w: %q", ErrUnsigned, a.Parties[i].TrustDomain)
		}
	}
	r.changing.Lock()
	defer r.changing.Unlock()

	known, err := r.fits(a, digest)
	if known || err != nil {
		return a, err
	}
	c := Change{ID: a.ID, Number: a.Number, Digest: digest, File: file, SuspendedBy: r.suspendedBy(a.ID)}
	if r.save != nil {
		if err := r.save(c); err != nil {
			return nil, fmt.Errorf("agreement: storing %q: %w", a.ID, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lineage(a.ID)
	i, _ := l.find(a.Number)
	l.versions = slices.Insert(l.versions, i, version{a, digest, slices.Clone(file)})
	return a, nil
}

// fits reports whether a is known already, or an error if it contradicts what is
// known.
func (r *Registry) fits(a *Agreement, digest Digest) (known bool, err error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.byID[a.ID]
	if l == nil {
		return false, nil
	}
	i, found := l.find(a.Number)
	if found {
		if l.versions[i].digest != digest {
			return false, fmt.Errorf("%w: another version %d of %q is known", ErrDigest, a.Number, a.ID)
		}
		return true, nil
	}
	if len(l.versions) > 0 {
		for p := range a.Parties {
			if l.versions[0].agreement.Parties[p].TrustDomain != a.Parties[p].TrustDomain {
				return false, fmt.Errorf("%w: an amendment of %q cannot change the parties", ErrParty, a.ID)
			}
		}
	}
	if i > 0 && l.versions[i-1].agreement.Number == a.Number-1 && l.versions[i-1].digest != a.Supersedes {
		return false, fmt.Errorf("%w: version %d of %q does not supersede the one we have", ErrDigest, a.Number, a.ID)
	}
	if i < len(l.versions) && l.versions[i].agreement.Number == a.Number+1 && l.versions[i].agreement.Supersedes != digest {
		return false, fmt.Errorf("%w: version %d of %q is not the one that was superseded", ErrDigest, a.Number, a.ID)
	}
	return false, nil
}

// lineage returns the lineage of id, and makes it. The caller holds mu.
func (r *Registry) lineage(id string) *lineage {
	l := r.byID[id]
	if l == nil {
		l = &lineage{suspendedBy: make(map[string]bool)}
		r.byID[id] = l
	}
	return l
}

func (l *lineage) find(number int) (int, bool) {
	return slices.BinarySearchFunc(l.versions, number, func(v version, n int) int { return cmp.Compare(v.agreement.Number, n) })
}

// current returns the version in effect at now: the last one that has started,
// or, before the first has, the first.
func (l *lineage) current(now time.Time) *version {
	for i := len(l.versions) - 1; i > 0; i-- {
		if !now.Before(l.versions[i].agreement.Start) {
			return &l.versions[i]
		}
	}
	return &l.versions[0]
}

func (r *Registry) suspendedBy(id string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if l := r.byID[id]; l != nil {
		return slices.Sorted(maps.Keys(l.suspendedBy))
	}
	return nil
}

// Suspend suspends all versions of an agreement on behalf of a party, at once. It
// is idempotent. An error other than [ErrUnknown] and [ErrParty] means that the
// agreement is suspended, and that this is not stored.
func (r *Registry) Suspend(id, by string) error { return r.suspend(id, by, true) }

// Resume takes back the suspension by one party. The agreement stays suspended
// while the other party's suspension remains.
func (r *Registry) Resume(id, by string) error { return r.suspend(id, by, false) }

func (r *Registry) suspend(id, by string, on bool) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	l := r.byID[id]
	if l == nil || len(l.versions) == 0 {
		r.mu.Unlock()
		return fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	if _, err := l.versions[0].agreement.Party(by); err != nil {
		r.mu.Unlock()
		return err
	}
	after := maps.Clone(l.suspendedBy)
	if on {
		after[by] = true
		l.suspendedBy = after // before it is stored: fail closed
	} else {
		delete(after, by)
	}
	r.mu.Unlock()
	if r.save != nil {
		if err := r.save(Change{ID: id, SuspendedBy: slices.Sorted(maps.Keys(after))}); err != nil {
			return fmt.Errorf("agreement: storing the suspension of %q: %w", id, err)
		}
	}
	r.mu.Lock()
	l.suspendedBy = after
	r.mu.Unlock()
	return nil
}

// Restore sets who has suspended an agreement, as it was stored. It is for
// loading, and does not call save.
func (r *Registry) Restore(id string, suspendedBy []string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.byID[id]
	if l == nil {
		return fmt.Errorf("%w: %q", ErrUnknown, id)
	}
	l.suspendedBy = make(map[string]bool)
	for _, by := range suspendedBy {
		l.suspendedBy[by] = true
	}
	return nil
}

// Active returns the version of an agreement that is in effect at now. Otherwise
// it returns an error wrapping [ErrUnknown], [ErrNotYet], [ErrExpired] or
// [ErrSuspended].
func (r *Registry) Active(id string, now time.Time) (*Agreement, Digest, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	l := r.byID[id]
	if l == nil || len(l.versions) == 0 {
		return nil, Digest{}, ErrUnknown // without the name, which may be any text of a peer
	}
	v := l.current(now)
	if err := v.agreement.Status(now, len(l.suspendedBy) > 0).Err(); err != nil {
		return nil, Digest{}, fmt.Errorf("%w: %q", err, id)
	}
	return v.agreement, v.digest, nil
}

// Check returns the active version of an agreement for a peer that named it by id
// and digest. Besides the errors of [Registry.Active] it returns one wrapping
// [ErrParty] if the peer is no party, which is checked first and says nothing of
// the agreement's state, and [ErrDigest] if the peer means another version.
func (r *Registry) Check(peer, id string, digest Digest, now time.Time) (*Agreement, error) {
	r.mu.RLock()
	l := r.byID[id]
	party := l != nil && len(l.versions) > 0
	if party {
		_, err := l.versions[0].agreement.Party(peer)
		party = err == nil && peer != r.self
	}
	r.mu.RUnlock()
	if l != nil && !party {
		return nil, fmt.Errorf("%w: %q", ErrParty, id)
	}
	a, d, err := r.Active(id, now)
	if err != nil {
		return nil, err
	}
	if d != digest {
		return nil, fmt.Errorf("%w: %q", ErrDigest, id)
	}
	return a, nil
}

// For returns the active agreement under which we may ask peer about a collection
// that it holds; the one with the first id if there are several. Otherwise the
// error says why not: it wraps [ErrUnknown] if no agreement covers the collection,
// or the reason why the one that does is not active.
func (r *Registry) For(peer, collection string, now time.Time) (*Agreement, Digest, error) {
	return r.covering(peer, peer, collection, now)
}

// ForAsker is For seen from the holder: the agreement under which peer may ask us
// about our collection.
func (r *Registry) ForAsker(peer, collection string, now time.Time) (*Agreement, Digest, error) {
	return r.covering(peer, r.self, collection, now)
}

func (r *Registry) covering(peer, holder, collection string, now time.Time) (*Agreement, Digest, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	why := fmt.Errorf("%w: none with %q covers collection %q", ErrUnknown, peer, collection)
	for _, id := range slices.Sorted(maps.Keys(r.byID)) {
		l := r.byID[id]
		if len(l.versions) == 0 {
			continue
		}
		v := l.current(now)
		if other, err := v.agreement.Other(r.self); err != nil || other.TrustDomain != peer {
			continue
		}
		if _, err := v.agreement.Collection(holder, collection); err != nil {
			continue
		}
		err := v.agreement.Status(now, len(l.suspendedBy) > 0).Err()
		if err == nil {
			return v.agreement, v.digest, nil
		}
		if errors.Is(why, ErrUnknown) {
			why = fmt.Errorf("%w: %q", err, id)
		}
	}
	return nil, Digest{}, why
}

// List returns every version of every agreement, by id and number.
func (r *Registry) List(now time.Time) []Info {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Info
	for _, id := range slices.Sorted(maps.Keys(r.byID)) {
		l := r.byID[id]
		for i := range l.versions {
			v := &l.versions[i]
			all = append(all, Info{
				Agreement:   v.agreement,
				Digest:      v.digest,
				State:       v.agreement.Status(now, len(l.suspendedBy) > 0),
				Superseded:  v.agreement.Number < l.current(now).agreement.Number,
				SuspendedBy: slices.Sorted(maps.Keys(l.suspendedBy)),
			})
		}
	}
	return all
}

// File returns the file of one version, or an error wrapping [ErrUnknown].
func (r *Registry) File(id string, number int) ([]byte, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if l := r.byID[id]; l != nil {
		if i, ok := l.find(number); ok {
			return slices.Clone(l.versions[i].file), nil
		}
	}
	return nil, fmt.Errorf("%w: version %d of %q", ErrUnknown, number, id)
}

// Warnings returns the warnings due at now, by id. The last version counts: an
// amendment that extends the term ends the warning.
func (r *Registry) Warnings(now time.Time) []Warning {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Warning
	for _, id := range slices.Sorted(maps.Keys(r.byID)) {
		if l := r.byID[id]; len(l.versions) > 0 {
			if w, ok := l.versions[len(l.versions)-1].agreement.Warning(now); ok {
				all = append(all, w)
			}
		}
	}
	return all
}
