package asker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/store"
)

// ErrList is returned where no copy of a collection may be matched against:
// there is none, it is too old, or it does not have the classes of the agreement.
// Synchronise, and ask again.
var ErrList = errors.New("asker: no current copy of the list")

// A List is the copy of one collection of one holder: the tag sets of all its
// classes at one list version. It is not modified, and may be used concurrently.
type List struct {
	Holder, Collection string
	Version            uint64
	Epoch              uint32
	Published          time.Time // when the holder built it, by its clock
	NotAfter           time.Time // when it must no longer be used
	Confirmed          time.Time // when the holder last said that it is the newest
	Tags               uint64    // in all classes, decoys included
	Classes            []ClassSet
}

// A ClassSet is the tag set of one key class. It is searched in the files of its
// segments, which are mapped for as long as it is in use, also after they were removed
// because a newer list has come.
type ClassSet struct {
	Name      string
	Info      []byte // public information of the POPRF
	PublicKey oprf.PublicKey

	client   *oprf.Client // for PublicKey
	set      *psi.Set
	mappings []*store.Mapping // of the segments of set
}

// appendLookup is [psi.Set.AppendLookup].
func (c *ClassSet) appendLookup(dst []psi.Label, out *oprf.Output) []psi.Label {
	defer runtime.KeepAlive(c)
	return c.set.AppendLookup(dst, out)
}

// openSet maps the segments of a manifest and verifies the whole set. The mappings
// hold the set; whoever does not keep it closes them.
func openSet(ctx context.Context, s *store.Store, m *psi.Manifest, segments [][32]byte) (*psi.Set, []*store.Mapping, error) {
	var mappings []*store.Mapping
	var all [][]byte
	for _, hash := range segments {
		mapping, err := s.MapSegment(ctx, hash)
		if err != nil {
			closeAll(mappings)
			return nil, nil, err
		}
		mappings = append(mappings, mapping)
		all = append(all, mapping.Bytes())
	}
	set, err := psi.OpenSet(m, all)
	if err != nil {
		closeAll(mappings)
		return nil, nil, err
	}
	return set, mappings, nil
}

func closeAll(mappings []*store.Mapping) {
	for _, m := range mappings {
		m.Close()
	}
}

// A Library holds the lists that we may match against. Its methods may be called
// concurrently.
type Library struct {
	store *store.Store

	mu    sync.RWMutex
	lists map[[2]string]*List // by holder and collection
}

// NewLibrary returns an empty Library over s.
func NewLibrary(s *store.Store) *Library {
	return &Library{store: s, lists: make(map[[2]string]*List)}
}

// Load opens the copy of one collection from the store and takes it into use.
// Every segment is verified against its manifest, and every manifest against the
// holder's key: what a disk has damaged is not matched against. It returns an
// error wrapping [ErrList] if there is no copy.
func (l *Library) Load(ctx context.Context, holder string, c *agreement.Collection, key ed25519.PublicKey) (*List, error) {
	heads, err := l.store.Heads(ctx, store.Accepted, holder, c.Name)
	if err != nil {
		return nil, err
	}
	if len(heads) == 0 {
		return nil, fmt.Errorf("%w: nothing was synchronised", ErrList)
	}
	list := &List{Holder: holder, Collection: c.Name, Version: heads[0].Version, Epoch: heads[0].Epoch}
	for i := range heads {
		signed, err := psi.CheckManifest(heads[i].Manifest, key)
		if err != nil {
			return nil, fmt.Errorf("asker: stored manifest: %w", err)
		}
		m := &signed.Manifest
		set, mappings, err := openSet(ctx, l.store, m, heads[i].Segments)
		if err != nil {
			return nil, fmt.Errorf("asker: stored tag set: %w", err)
		}
		for _, mapping := range mappings {
			mapping.Unload() // what verifying has read
		}
		client, err := oprf.NewClient(m.PublicKey)
		if err != nil {
			closeAll(mappings)
			return nil, fmt.Errorf("asker: public key of the stored manifest: %w", err)
		}
		if m.Info.Epoch != list.Epoch || m.Version != list.Version {
			return nil, fmt.Errorf("%w: classes at different versions", ErrList)
		}
		list.Published = m.Created
		if list.NotAfter.IsZero() || m.NotAfter.Before(list.NotAfter) {
			list.NotAfter = m.NotAfter
		}
		list.Tags += uint64(set.Len())
		list.Classes = append(list.Classes, ClassSet{Name: heads[i].Class, Info: m.Info.Bytes(), PublicKey: m.PublicKey,
			client: client, set: set, mappings: mappings})
	}
	slices.SortFunc(list.Classes, func(a, b ClassSet) int {
		return slices.Index(c.Classes, a.Name) - slices.Index(c.Classes, b.Name)
	})
	synced, err := l.store.Synced(ctx, holder, c.Name)
	if err != nil {
		return nil, err
	}
	list.Confirmed = synced.At
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists[[2]string{holder, c.Name}] = list
	return list, nil
}

// Current returns the list to match against at now, or an error wrapping
// [ErrList] that says why there is none.
func (l *Library) Current(holder string, c *agreement.Collection, now time.Time) (*List, error) {
	l.mu.RLock()
	list := l.lists[[2]string{holder, c.Name}]
	l.mu.RUnlock()
	switch {
	case list == nil:
		return nil, fmt.Errorf("%w: nothing was synchronised", ErrList)
	case !now.Before(list.NotAfter):
		return nil, fmt.Errorf("%w: version %d has ended", ErrList, list.Version)
	case now.Sub(list.Confirmed) > time.Duration(c.MaxAge):
		return nil, fmt.Errorf("%w: version %d was confirmed %v ago, the agreement allows %v", ErrList, list.Version,
			now.Sub(list.Confirmed).Round(time.Second), time.Duration(c.MaxAge))
	}
	names := make([]string, len(list.Classes))
	for i := range list.Classes {
		names[i] = list.Classes[i].Name
	}
	if !slices.Equal(names, c.Classes) {
		return nil, fmt.Errorf("%w: version %d does not have the classes of the agreement", ErrList, list.Version)
	}
	return list, nil
}

// confirm notes that the holder said at a time that list is the newest.
func (l *Library) confirm(holder, collection string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if list := l.lists[[2]string{holder, collection}]; list != nil {
		fresh := *list
		fresh.Confirmed = at
		l.lists[[2]string{holder, collection}] = &fresh
	}
}

// Drop forgets the lists of a holder, whose federation has ended.
func (l *Library) Drop(holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.lists {
		if k[0] == holder {
			delete(l.lists, k)
		}
	}
}

// Lists returns the lists in use, by holder and collection.
func (l *Library) Lists() []*List {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var all []*List
	for _, list := range l.lists {
		all = append(all, list)
	}
	slices.SortFunc(all, func(a, b *List) int {
		return slices.Compare([]string{a.Holder, a.Collection}, []string{b.Holder, b.Collection})
	})
	return all
}
