package peer_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/peer"
)

// A disk keeps what a Federation saved last.
type disk struct {
	mu    sync.Mutex
	state []byte
	err   error
}

func (d *disk) save(b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	d.state = b
	return nil
}

func TestFederationLifecycle(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := newCountry(t, "b.example", c)
	d := new(disk)
	f, err := peer.NewFederation("a.example", d.save)
	if err != nil {
		t.Fatal(err)
	}
	if f.Active("b.example") || !errors.Is(f.Authorize(b.id), peer.ErrNotFederated) {
		t.Error("a stranger is active")
	}
	select {
	case <-f.Done("b.example"):
	default:
		t.Error("Done of a stranger is open")
	}

	first := full(t, b)
	p, err := f.Accept(first, c.now())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := f.Peer("b.example"); !ok || !reflect.DeepEqual(got, p) || p.State != peer.Active || p.Endpoint != first.Endpoint {
		t.Errorf("Peer = %+v, %v, want %+v", got, ok, p)
	}
	if err := f.Authorize(b.id); err != nil {
		t.Errorf("Authorize: %v", err)
	}
	for _, id := range []string{"", "x", "spiffe://b.example/gateway/other", "spiffe://b.example/officer/main",
		"spiffe://a.example/gateway/main"} {
		if err := f.Authorize(id); err != peer.ErrNotFederated {
			t.Errorf("Authorize(%q) = %v, want ErrNotFederated", id, err)
		}
	}
	if _, err := f.Accept(first, c.now()); !errors.Is(err, peer.ErrStale) {
		t.Errorf("the same invite again: error = %v, want ErrStale", err)
	}

	// What is returned is not the state itself.
	p.Gateways[0] = "spiffe://b.example/gateway/evil"
	if err := f.Authorize(b.id); err != nil {
		t.Errorf("after changing a returned Peer: %v", err)
	}

	// The state survives a restart.
	again, err := peer.LoadFederation("a.example", d.state, d.save)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Peers(), f.Peers(); !reflect.DeepEqual(got, want) {
		t.Errorf("after loading: %+v\nwant %+v", got, want)
	}

	// Updates keep Done open, the end closes it.
	done := f.Done("b.example")
	c.add(time.Hour)
	if _, err := f.Update(full(t, b), c.now()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
		t.Error("Done is closed by an update")
	default:
	}
	late := full(t, b) // made before the end, and kept by an attacker
	c.add(time.Hour)
	if err := f.End("b.example", c.now()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	default:
		t.Error("Done is open after the end")
	}
	if f.Active("b.example") || f.Authorize(b.id) != peer.ErrNotFederated {
		t.Error("active after the end")
	}
	got, _ := f.Peer("b.example")
	if len(got.Authorities) != 0 || got.State != peer.Ended || got.LogKey != first.LogKey {
		t.Errorf("after the end: %+v", got)
	}
	if again, err = peer.LoadFederation("a.example", d.state, d.save); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*peer.Federation{f, again} {
		if f.Active("b.example") {
			t.Error("active after the end and a restart")
		}
		if _, err := f.Accept(late, c.now()); !errors.Is(err, peer.ErrStale) {
			t.Errorf("invite from before the end: error = %v, want ErrStale", err)
		}
		if err := f.End("b.example", c.now()); err != nil {
			t.Errorf("ending again: %v", err)
		}
	}
	c.add(time.Minute)
	if _, err := f.Update(full(t, b), c.now()); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("update after the end: error = %v, want ErrNotFederated", err)
	}
	if _, err := f.Accept(full(t, b), c.now()); err != nil || !f.Active("b.example") {
		t.Errorf("a newer invite after the end: %v", err)
	}
	if err := f.End("c.example", c.now()); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("ending with a stranger: error = %v, want ErrNotFederated", err)
	}
}

func TestAcceptRefuses(t *testing.T) {
	t.Parallel()
	c := newClock()
	a, b, d := newCountry(t, "a.example", c), newCountry(t, "b.example", c), newCountry(t, "d.example", c)
	a.federate(t, b)
	change := func(of *country, f func(*peer.Invite)) *peer.Invite {
		i := of.unsigned(t)
		i.Created = i.Created.Add(time.Second)
		f(i)
		if err := i.Sign(of.key); err != nil {
			t.Fatal(err)
		}
		return i
	}
	tests := []struct {
		name   string
		invite *peer.Invite
		now    time.Time
		want   error
	}{
		{"expired", d.invite(t), c.now().Add(31 * 24 * time.Hour), peer.ErrExpired},
		{"from the future", d.invite(t), c.now().Add(-6 * time.Minute), peer.ErrExpired},
		{"ourselves", a.invite(t), c.now(), peer.ErrConflict},
		{"log key of another", change(d, func(i *peer.Invite) { i.LogKey = verifierKey(t, "d.example/shared", b.logKey) }), c.now(), peer.ErrConflict},
		{"older", change(b, func(i *peer.Invite) { i.Created = i.Created.Add(-time.Hour) }), c.now(), peer.ErrStale},
		{"not signed", d.unsigned(t), c.now(), peer.ErrInvite},
	}
	for _, tt := range tests {
		if p, err := a.federation.Accept(tt.invite, tt.now); !errors.Is(err, tt.want) || p.TrustDomain != "" {
			t.Errorf("%s: error = %v, want %v", tt.name, err, tt.want)
		}
	}
	if got := len(a.federation.Peers()); got != 1 {
		t.Errorf("%d peers, want 1", got)
	}

	// Without an operator nothing that people compared may change.
	_, otherKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := change(b, func(*peer.Invite) {})
	if _, err := a.federation.Update(i, c.now()); err != nil {
		t.Errorf("valid update: %v", err)
	}
	stolen := b.unsigned(t)
	stolen.Created = stolen.Created.Add(2 * time.Second)
	stolen.SigningKey = verifierKey(t, "b.example/statement", otherKey.Public().(ed25519.PublicKey))
	if err := stolen.Sign(otherKey); err != nil {
		t.Fatal(err)
	}
	later := func(f func(*peer.Invite)) *peer.Invite {
		return change(b, func(i *peer.Invite) { i.Created = i.Created.Add(time.Second); f(i) })
	}
	for name, i := range map[string]*peer.Invite{
		"signing key": stolen,
		"log key":     later(func(i *peer.Invite) { i.LogKey = verifierKey(t, "b.example/shared", d.logKey) }),
		"witness key": later(func(i *peer.Invite) { i.WitnessKey = d.unsigned(t).LogKey }),
		"profile": later(func(i *peer.Invite) {
			i.Profile, i.BundleURL = peer.ProfileWeb, "https://b.example/bundle"
		}),
	} {
		if _, err := a.federation.Update(i, c.now()); !errors.Is(err, peer.ErrConflict) {
			t.Errorf("update of the %s: error = %v, want ErrConflict", name, err)
		}
	}
	if _, err := a.federation.Update(d.invite(t), c.now()); !errors.Is(err, peer.ErrNotFederated) {
		t.Errorf("update of a stranger: error = %v, want ErrNotFederated", err)
	}
	// A committed key stays as it is.
	key := []peer.KeyCommitment{{Collection: "watchlist", Epoch: 1, PublicKey: [32]byte{1}}}
	if _, err := a.federation.Update(later(func(i *peer.Invite) { i.KeyCommitments = key }), c.now()); err != nil {
		t.Fatal(err)
	}
	i = later(func(i *peer.Invite) {
		i.Created = i.Created.Add(time.Second)
		i.KeyCommitments = []peer.KeyCommitment{{Collection: "watchlist", Epoch: 1, PublicKey: [32]byte{2}}}
	})
	if _, err := a.federation.Update(i, c.now()); !errors.Is(err, peer.ErrConflict) {
		t.Errorf("other committed key: error = %v, want ErrConflict", err)
	}
	if _, err := a.federation.Accept(i, c.now()); err != nil {
		t.Errorf("other committed key, with an operator: %v", err)
	}
}

// TestSaveFails loses the disk. What was not saved does not take effect, but for
// the end of a federation.
func TestSaveFails(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := newCountry(t, "b.example", c)
	d := new(disk)
	f, err := peer.NewFederation("a.example", d.save)
	if err != nil {
		t.Fatal(err)
	}
	lost := errors.New("disk is full")
	d.err = lost
	if _, err := f.Accept(b.invite(t), c.now()); !errors.Is(err, lost) || f.Active("b.example") {
		t.Errorf("Accept: error = %v, active %v", err, f.Active("b.example"))
	}
	d.err = nil
	if _, err := f.Accept(b.invite(t), c.now()); err != nil {
		t.Fatal(err)
	}
	d.err = lost
	if err := f.End("b.example", c.now()); !errors.Is(err, lost) || f.Active("b.example") {
		t.Errorf("End: error = %v, active %v", err, f.Active("b.example"))
	}
	d.err = nil
	if err := f.End("b.example", c.now()); err != nil {
		t.Fatal(err)
	}
	again, err := peer.LoadFederation("a.example", d.state, nil)
	if err != nil || again.Active("b.example") {
		t.Errorf("after a restart: %v", err)
	}
}

func TestLoadFederationDamaged(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := newCountry(t, "b.example", c)
	d := new(disk)
	f, err := peer.NewFederation("a.example", d.save)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Accept(b.invite(t), c.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.LoadFederation("b.example", d.state, nil); err == nil {
		t.Error("loaded a federation with ourselves")
	}
	for _, s := range []string{"", "{}", "null", `{"Version":2}`, `{"Version":1,"X":1}`, string(d.state[:len(d.state)/2]),
		string(d.state) + "{}", `{"Version":1,"Peers":[{"TrustDomain":"b.example"}]}`} {
		if f, err := peer.LoadFederation("a.example", []byte(s), nil); err == nil || f != nil {
			t.Errorf("loaded %.20q", s)
		}
	}
	if _, err := peer.NewFederation("spiffe://a.example", nil); err == nil {
		t.Error("NewFederation accepts a URI")
	}
}

func TestFederationConcurrent(t *testing.T) {
	t.Parallel()
	c := newClock()
	b := newCountry(t, "b.example", c)
	f, err := peer.NewFederation("a.example", new(disk).save)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for k := range 20 {
				switch n {
				case 0:
					i := b.unsigned(t)
					i.Created = i.Created.Add(time.Duration(k) * time.Second)
					if err := i.Sign(b.key); err != nil {
						t.Error(err)
					}
					if _, err := f.Accept(i, c.now().Add(time.Minute)); err != nil {
						t.Error(err)
					}
				case 1:
					f.End("b.example", c.now().Add(-time.Hour))
				default:
					_ = f.Authorize(b.id)
					_ = f.Active("b.example")
					_ = fmt.Sprint(f.Peers())
					f.Done("b.example")
				}
			}
		})
	}
	wg.Wait()
}
