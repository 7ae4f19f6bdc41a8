package gateway

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/peer"
)

// A keyring holds the OPRF servers of our collections, one for each epoch whose
// key is not destroyed. It implements holder.Keys.
type keyring struct {
	rings map[string]*keys.Ring // by collection

	mu      sync.Mutex
	servers map[string]map[uint32]*oprf.Server
}

// openKeyring opens the epoch keys of the collections of c.
func openKeyring(c *Config) (*keyring, error) {
	k := &keyring{rings: make(map[string]*keys.Ring), servers: make(map[string]map[uint32]*oprf.Server)}
	for _, l := range c.Collections {
		ring, err := keys.OpenRing(filepath.Join(c.Data, "keys", "epochs", l.Name), filepath.Join(c.Wrapping, l.Name), l.Name)
		if err != nil {
			return nil, err
		}
		k.rings[l.Name] = ring
		k.servers[l.Name] = make(map[uint32]*oprf.Server)
	}
	return k, nil
}

// create makes the key of the first epoch of a collection, if there is none.
func (k *keyring) create(collection string, now time.Time) error {
	epochs, err := k.Epochs(collection)
	if err != nil || len(epochs) > 0 {
		return err
	}
	_, err = k.Create(collection, now)
	return err
}

// Server implements holder.Keys.
func (k *keyring) Server(collection string, epoch uint32) (*oprf.Server, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	servers, ok := k.servers[collection]
	if !ok {
		return nil, fmt.Errorf("gateway: collection %q is not configured", collection)
	}
	if s := servers[epoch]; s != nil {
		return s, nil
	}
	stored, err := k.rings[collection].Load(epoch)
	if err != nil {
		return nil, err
	}
	key, err := oprf.ParsePrivateKey(stored.Bytes())
	if err != nil {
		return nil, err
	}
	servers[epoch] = oprf.NewServer(key)
	return servers[epoch], nil
}

// Collections implements holder.Keys.
func (k *keyring) Collections() []string { return slices.Sorted(maps.Keys(k.rings)) }

// ring returns the ring of a collection.
func (k *keyring) ring(collection string) (*keys.Ring, error) {
	ring, ok := k.rings[collection]
	if !ok {
		return nil, fmt.Errorf("gateway: collection %q is not configured", collection)
	}
	return ring, nil
}

// Epochs implements holder.Keys and admin.Keys.
func (k *keyring) Epochs(collection string) ([]keys.Epoch, error) {
	ring, err := k.ring(collection)
	if err != nil {
		return nil, err
	}
	return ring.Epochs()
}

// Create implements holder.Keys.
func (k *keyring) Create(collection string, now time.Time) (uint32, error) {
	ring, err := k.ring(collection)
	if err != nil {
		return 0, err
	}
	epochs, err := ring.Epochs()
	if err != nil {
		return 0, err
	}
	next := uint32(1)
	if len(epochs) > 0 {
		next = epochs[len(epochs)-1].Number + 1
	}
	key := oprf.GeneratePrivateKey()
	return next, ring.Create(next, key.KeyID(), key.Bytes(), now)
}

// Destroy implements holder.Keys.
func (k *keyring) Destroy(collection string, epoch uint32, now time.Time) error {
	ring, err := k.ring(collection)
	if err != nil {
		return err
	}
	err = ring.Destroy(epoch, now)
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.servers[collection], epoch) // whoever asks from here on reads the mark
	return err
}

// Current implements holder.Keys.
func (k *keyring) Current(collection string) (uint32, *oprf.Server, error) {
	ring, err := k.ring(collection)
	if err != nil {
		return 0, nil, err
	}
	key, err := ring.Current()
	if err != nil {
		return 0, nil, err
	}
	s, err := k.Server(collection, key.Epoch())
	return key.Epoch(), s, err
}

// OwnCommitments returns the public keys that our invites commit to.
func (k *keyring) OwnCommitments() ([]peer.KeyCommitment, error) {
	var all []peer.KeyCommitment
	for _, name := range k.Collections() {
		epoch, server, err := k.Current(name)
		if err != nil {
			return nil, err
		}
		all = append(all, peer.KeyCommitment{Collection: name, Epoch: epoch, PublicKey: server.PublicKey()})
	}
	return all, nil
}
