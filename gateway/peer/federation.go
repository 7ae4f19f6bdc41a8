package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// MaxPeers is how many peers, active and ended, a Federation holds at most.
const MaxPeers = 1024

var (
	// ErrStale is returned for an invite or a bundle that is not newer than what
	// is already there, or than the end of the federation. It stops a replay.
	ErrStale = errors.New("peer: not newer than what is known")

	// ErrConflict is returned for an invite that claims what is not its own: our
	// trust domain, or an authority or key of another peer; and for an update
	// that changes a key that only an operator may change.
	ErrConflict = errors.New("peer: invite conflicts with what is known")
)

// A State says whether a federation is in force. The zero State is invalid.
type State uint8

const (
	// Active means that the peer may connect.
	Active State = 1

	// Ended means that the peer is treated like a stranger. Only accepting a
	// newer invite makes it active again.
	Ended State = 2
)

// String returns "active" or "ended".
func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Ended:
		return "ended"
	}
	return "invalid"
}

// A Peer is one neighbour.
type Peer struct {
	TrustDomain string   // the key of the peer
	Gateways    []string // the SPIFFE IDs that may connect, and no other
	Endpoint    string   // where its gateway listens, host:port
	Country     string   // 2 or 3 letters
	Agency      string   // name for people
	AgencyCode  string   // in agreements
	Profile     string   // how its bundle is kept up to date
	BundleURL   string   // with https_ profiles only

	// Authorities are the X.509 authorities of its bundle, in DER. None if the
	// federation ended.
	Authorities [][]byte

	// SigningKey, LogKey and WitnessKey are verifier keys. They stay after the
	// end of the federation, because old receipts and logs must stay verifiable.
	SigningKey, LogKey, WitnessKey string

	// KeyCommitments are those of the newest invite.
	KeyCommitments []KeyCommitment

	State State

	Invited  time.Time // when the newest invite was created, by the clock of the peer
	Accepted time.Time // when an operator last accepted an invite
	Updated  time.Time // when the bundle was last confirmed; alarm on its age
	Ended    time.Time // when the federation ended; zero if it is active

	// BundleSequence is the spiffe_sequence of the last fetched bundle.
	BundleSequence uint64
}

// clone returns a copy that shares no slice with p. The DER of authorities is
// shared: nobody modifies it.
func (p *Peer) clone() Peer {
	c := *p
	c.Gateways = slices.Clone(p.Gateways)
	c.Authorities = slices.Clone(p.Authorities)
	c.KeyCommitments = slices.Clone(p.KeyCommitments)
	return c
}

// A Federation is the set of peers of one gateway, by trust domain. It
// implements x509bundle.Source for the active ones.
//
// Every change is given to the save function before it takes effect, but for the
// end of a federation, which takes effect first: see [Federation.End].
type Federation struct {
	self spiffeid.TrustDomain
	save func([]byte) error

	// change is held for the whole of a change, including save. mu guards the
	// fields below and is never held while save runs, so that connections are
	// not delayed by a slow disk.
	change sync.Mutex
	mu     sync.RWMutex
	peers  map[string]*entry
}

// An entry is a peer and what is derived from it. It is never modified, but for
// the channel, which is closed once.
type entry struct {
	peer   Peer
	td     spiffeid.TrustDomain
	bundle *x509bundle.Bundle // nil if ended
	done   chan struct{}      // closed when the federation ends; kept over updates
}

// NewFederation returns an empty federation of the gateway in the trust domain
// self. After every change, save is called with the whole state in the form that
// [LoadFederation] reads; it returns nil only when the state is durable, and
// must not call methods of the Federation that change it. save may be nil if
// nothing must last.
func NewFederation(self string, save func([]byte) error) (*Federation, error) {
	td, err := parseTrustDomain(self)
	if err != nil {
		return nil, err
	}
	if save == nil {
		save = func([]byte) error { return nil }
	}
	return &Federation{self: td, save: save, peers: make(map[string]*entry)}, nil
}

// federationFile is the JSON form of the state of a Federation.
type federationFile struct {
	Version int
	Peers   []Peer
}

// LoadFederation is like [NewFederation], with the state that was last saved.
// state must come from the own store: it is checked for damage, and not for
// malice.
func LoadFederation(self string, state []byte, save func([]byte) error) (*Federation, error) {
	f, err := NewFederation(self, save)
	if err != nil {
		return nil, err
	}
	var file federationFile
	dec := json.NewDecoder(bytes.NewReader(state))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, errors.New("peer: loading federation: malformed state")
	}
	if file.Version != 1 || dec.More() || len(file.Peers) > MaxPeers {
		return nil, errors.New("peer: loading federation: unknown version or form")
	}
	for _, p := range file.Peers {
		e, err := newEntry(p)
		if err != nil || p.TrustDomain == f.self.Name() || f.peers[p.TrustDomain] != nil {
			return nil, fmt.Errorf("peer: loading federation: invalid peer %.260q", p.TrustDomain)
		}
		f.peers[p.TrustDomain] = e
	}
	return f, nil
}

func newEntry(p Peer) (*entry, error) {
	td, err := parseTrustDomain(p.TrustDomain)
	if err != nil {
		return nil, err
	}
	e := &entry{peer: p.clone(), td: td, done: make(chan struct{})}
	switch p.State {
	case Active:
		certs, err := parseAuthorities(td, p.Authorities)
		if err != nil {
			return nil, err
		}
		if len(p.Gateways) == 0 || !p.Ended.IsZero() {
			return nil, errors.New("peer: active without gateways")
		}
		for _, g := range p.Gateways {
			if id, err := ParseID(g); err != nil || id.TrustDomain != p.TrustDomain || id.Kind != KindGateway {
				return nil, ErrID
			}
		}
		e.bundle = x509bundle.FromX509Authorities(td, certs)
	case Ended:
		if len(p.Authorities) != 0 || p.Ended.IsZero() {
			return nil, errors.New("peer: ended with authorities")
		}
		close(e.done)
	default:
		return nil, errors.New("peer: invalid state")
	}
	return e, nil
}

// encode returns the state with e in place of the peer of the same name.
func (f *Federation) encode(e *entry) ([]byte, error) {
	f.mu.RLock()
	peers := maps.Clone(f.peers)
	f.mu.RUnlock()
	peers[e.peer.TrustDomain] = e
	file := federationFile{Version: 1}
	for _, td := range slices.Sorted(maps.Keys(peers)) {
		file.Peers = append(file.Peers, peers[td].peer)
	}
	b, err := json.MarshalIndent(file, "", " ")
	if err != nil {
		return nil, fmt.Errorf("peer: encoding federation: %v", err)
	}
	return append(b, '\n'), nil
}

// Accept adds the peer of an invite, or replaces everything known of it, at the
// word of an operator. Callers must show the operator the [Invite.Fingerprint],
// and call Accept only after it was compared with the peer over another channel:
// nothing else says that the invite is not an attacker's.
//
// It returns an error wrapping [ErrInvite] or [ErrExpired] for an invite that is
// not valid now; [ErrStale] if it was not created after the last one of the same
// trust domain, and after the end of the federation with it; or [ErrConflict] if
// it claims our trust domain, or an authority or key of another peer. When it
// returns nil the peer is durable and may connect.
func (f *Federation) Accept(i *Invite, now time.Time) (Peer, error) {
	return f.apply(i, now, true)
}

// Update takes a newer invite of an active peer without an operator. It must be
// signed by the key of the accepted one, and may change the bundle, the
// endpoint, the gateway, the names for people, and key commitments of epochs
// that were not committed to. It must not change any verifier key, nor the key
// of a collection and epoch that it repeats: these are errors wrapping
// [ErrConflict], and an operator has to Accept. Other errors are those of
// Accept, and [ErrNotFederated].
func (f *Federation) Update(i *Invite, now time.Time) (Peer, error) {
	return f.apply(i, now, false)
}

func (f *Federation) apply(i *Invite, now time.Time, operator bool) (Peer, error) {
	if _, err := i.Bytes(); err != nil { // checks fields and signature
		return Peer{}, err
	}
	if err := i.CheckTime(now); err != nil {
		return Peer{}, err
	}
	if i.TrustDomain == f.self.Name() {
		return Peer{}, fmt.Errorf("%w: our own trust domain", ErrConflict)
	}
	p := Peer{
		TrustDomain:    i.TrustDomain,
		Gateways:       []string{i.GatewayID},
		Endpoint:       i.Endpoint,
		Country:        i.Country,
		Agency:         i.Agency,
		AgencyCode:     i.AgencyCode,
		Profile:        i.Profile,
		BundleURL:      i.BundleURL,
		Authorities:    i.BundleAuthorities,
		SigningKey:     i.SigningKey,
		LogKey:         i.LogKey,
		WitnessKey:     i.WitnessKey,
		KeyCommitments: i.KeyCommitments,
		State:          Active,
		Invited:        i.Created,
		Accepted:       now.UTC(),
		Updated:        now.UTC(),
	}

	f.change.Lock()
	defer f.change.Unlock()
	old := f.entry(p.TrustDomain)
	if old != nil && (!p.Invited.After(old.peer.Invited) || !p.Invited.After(old.peer.Ended)) {
		return Peer{}, ErrStale
	}
	if !operator {
		if old == nil || old.peer.State != Active {
			return Peer{}, ErrNotFederated
		}
		if err := checkUpdate(&old.peer, &p); err != nil {
			return Peer{}, err
		}
		p.Accepted = old.peer.Accepted
	}
	if old != nil && old.peer.BundleURL == p.BundleURL {
		p.BundleSequence = old.peer.BundleSequence
	}
	if err := f.checkOwn(&p); err != nil {
		return Peer{}, err
	}
	return f.put(p)
}

// checkUpdate compares an unattended update with what an operator accepted.
func checkUpdate(old, p *Peer) error {
	if p.SigningKey != old.SigningKey || p.LogKey != old.LogKey || p.WitnessKey != old.WitnessKey {
		return fmt.Errorf("%w: a verifier key changed", ErrConflict)
	}
	if p.Profile != old.Profile {
		return fmt.Errorf("%w: the profile changed", ErrConflict)
	}
	for _, k := range p.KeyCommitments {
		for _, o := range old.KeyCommitments {
			if k.Collection == o.Collection && k.Epoch == o.Epoch && k.PublicKey != o.PublicKey {
				return fmt.Errorf("%w: a committed key changed", ErrConflict)
			}
		}
	}
	return nil
}

// checkOwn refuses a peer that claims an authority or a key of another. A shared
// authority would let each speak for the other, and a shared log key would let
// the log of one stand for the log of the other.
func (f *Federation) checkOwn(p *Peer) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.peers[p.TrustDomain] == nil && len(f.peers) >= MaxPeers {
		return errors.New("peer: too many peers")
	}
	for td, e := range f.peers {
		if td == p.TrustDomain {
			continue
		}
		if sameKey(e.peer.SigningKey, p.SigningKey) || sameKey(e.peer.LogKey, p.LogKey) ||
			p.WitnessKey != "" && e.peer.WitnessKey == p.WitnessKey {
			return fmt.Errorf("%w: a key of another peer", ErrConflict)
		}
		if e.bundle == nil {
			continue
		}
		certs, err := parseAuthorities(spiffeid.RequireTrustDomainFromString(p.TrustDomain), p.Authorities)
		if err != nil {
			return fmt.Errorf("%w: authority: %v", ErrInvite, err)
		}
		for _, a := range e.bundle.X509Authorities() {
			for _, b := range certs {
				if bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) {
					return fmt.Errorf("%w: an authority of another peer", ErrConflict)
				}
			}
		}
	}
	return nil
}

// sameKey reports whether two verifier keys are the same key, under whatever names.
func sameKey(a, b string) bool {
	x, errX := PublicKey(a)
	y, errY := PublicKey(b)
	return errX == nil && errY == nil && x.Equal(y)
}

// put saves p, and then lets it take effect. The caller holds f.change.
func (f *Federation) put(p Peer) (Peer, error) {
	e, err := newEntry(p)
	if err != nil {
		return Peer{}, fmt.Errorf("%w: %v", ErrInvite, err)
	}
	// Whoever waits for the end of the federation goes on to wait over updates.
	if old := f.entry(p.TrustDomain); old != nil && old.peer.State == Active && p.State == Active {
		e.done = old.done
	}
	state, err := f.encode(e)
	if err != nil {
		return Peer{}, err
	}
	if err := f.save(state); err != nil {
		return Peer{}, fmt.Errorf("peer: saving federation: %w", err)
	}
	f.mu.Lock()
	f.peers[p.TrustDomain] = e
	f.mu.Unlock()
	return e.peer.clone(), nil
}

// SetBundle replaces the bundle of an active peer by one that was fetched from
// the bundle endpoint of its invite, as its profile demands; [Federation.Refresh]
// does both. sequence is the spiffe_sequence of the bundle, or zero if it has
// none.
//
// It returns an error wrapping [ErrNotFederated]; [ErrStale] if sequence is lower
// than that of the last bundle; [ErrConflict]; or [ErrInvite] for a bundle that
// is not valid, such as an empty one. Then the bundle stays as it is.
func (f *Federation) SetBundle(trustDomain string, authorities [][]byte, sequence uint64, now time.Time) error {
	f.change.Lock()
	defer f.change.Unlock()
	old := f.entry(trustDomain)
	if old == nil || old.peer.State != Active {
		return ErrNotFederated
	}
	if old.peer.Profile == ProfileInvite {
		return fmt.Errorf("%w: the bundle changes by invite only", ErrConflict)
	}
	if sequence < old.peer.BundleSequence {
		return ErrStale
	}
	p := old.peer.clone()
	p.Authorities, p.BundleSequence, p.Updated = authorities, sequence, now.UTC()
	if err := f.checkOwn(&p); err != nil {
		return err
	}
	_, err := f.put(p)
	return err
}

// End ends the federation with a trust domain. The bundle is deleted, the peer
// is refused by every handshake and by Authorize, and the channel of
// [Federation.Done] is closed, all before End returns and also if it returns an
// error.
//
// An error other than [ErrNotFederated] means that the end was not saved and may
// be undone by a restart: callers must call End again until it returns nil.
// Ending what has ended saves again.
func (f *Federation) End(trustDomain string, now time.Time) error {
	f.change.Lock()
	defer f.change.Unlock()
	old := f.entry(trustDomain)
	if old == nil {
		return ErrNotFederated
	}
	e := old
	if old.peer.State == Active {
		p := old.peer.clone()
		p.State, p.Authorities = Ended, nil
		p.Ended = now.UTC()
		e = &entry{peer: p, td: old.td, done: old.done}
		f.mu.Lock()
		f.peers[trustDomain] = e
		f.mu.Unlock()
		close(e.done)
	}
	state, err := f.encode(e)
	if err != nil {
		return err
	}
	if err := f.save(state); err != nil {
		return fmt.Errorf("peer: saving federation: %w", err)
	}
	return nil
}

func (f *Federation) entry(trustDomain string) *entry {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.peers[trustDomain]
}

// Active reports whether the federation with a trust domain is in force.
func (f *Federation) Active(trustDomain string) bool {
	e := f.entry(trustDomain)
	return e != nil && e.peer.State == Active
}

// Authorize returns nil if id is a gateway of an active peer, and an error
// wrapping [ErrNotFederated] for every other id. It is the [Authorizer] of the
// federated listener, and must also be called on every RPC. It is cheap.
func (f *Federation) Authorize(id string) error {
	i, err := ParseID(id)
	if err != nil {
		return ErrNotFederated
	}
	e := f.entry(i.TrustDomain)
	if e == nil || e.peer.State != Active || !slices.Contains(e.peer.Gateways, id) {
		return ErrNotFederated
	}
	return nil
}

// Done returns a channel that is closed when the federation with a trust domain
// ends. For a trust domain that is not an active peer it is closed already.
// Streams must end when it closes.
func (f *Federation) Done(trustDomain string) <-chan struct{} {
	if e := f.entry(trustDomain); e != nil {
		return e.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// Peer returns what is known of a trust domain, active or ended.
func (f *Federation) Peer(trustDomain string) (Peer, bool) {
	e := f.entry(trustDomain)
	if e == nil {
		return Peer{}, false
	}
	return e.peer.clone(), true
}

// Peers returns all peers, active and ended, sorted by trust domain.
func (f *Federation) Peers() []Peer {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var ps []Peer
	for _, e := range f.peers {
		ps = append(ps, e.peer.clone())
	}
	slices.SortFunc(ps, func(a, b Peer) int { return strings.Compare(a.TrustDomain, b.TrustDomain) })
	return ps
}

// GetX509BundleForTrustDomain implements x509bundle.Source. It returns the
// bundle of an active peer, and an error wrapping [ErrNotFederated] otherwise.
func (f *Federation) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	e := f.entry(td.Name())
	if e == nil || e.bundle == nil {
		return nil, ErrNotFederated
	}
	return e.bundle, nil
}
