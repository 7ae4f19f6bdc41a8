package views_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"path/filepath"
	"slices"
	"testing"

	"github.com/passerelle/passerelle/crypto/keys"
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/store"
)

// A held is a copy of a list as an asker holds it, with what only the holder knows.
type held struct {
	sets    map[string]*psi.Set // by class
	handles map[string][8]byte  // by record id
	server  *oprf.Server
}

// openHeld opens the copy that a has of a list of h. Both are shut.
func openHeld(t *testing.T, a, h *nation, collection string) *held {
	t.Helper()
	out := &held{sets: make(map[string]*psi.Set)}
	theirs, err := store.Open(t.Context(), filepath.Join(a.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	key, err := keys.LoadSigningKey(filepath.Join(h.dir, "keys", "statement.pem"))
	if err != nil {
		t.Fatal(err)
	}
	heads, err := theirs.Heads(t.Context(), store.Accepted, h.td, collection)
	if err != nil || len(heads) != 4 {
		t.Fatalf("heads = %d, %v, want 4", len(heads), err)
	}
	var epoch uint32
	for i := range heads {
		m, err := psi.CheckManifest(heads[i].Manifest, key.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		var segments [][]byte
		for _, hash := range heads[i].Segments {
			b, err := theirs.Segment(t.Context(), hash)
			if err != nil {
				t.Fatal(err)
			}
			segments = append(segments, b)
		}
		if out.sets[heads[i].Class], err = psi.OpenSet(&m.Manifest, segments); err != nil {
			t.Fatal(err)
		}
		epoch = heads[i].Epoch
	}
	ours, err := store.Open(t.Context(), filepath.Join(h.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	if out.handles, err = ours.Handles(t.Context(), a.td, collection, epoch); err != nil {
		t.Fatal(err)
	}
	out.server = oprf.NewServer(epochKey(t, h, collection, epoch))
	return out
}

// epochKey returns the key of an epoch, which nobody but the holder has.
func epochKey(t testing.TB, n *nation, collection string, epoch uint32) oprf.PrivateKey {
	t.Helper()
	ring, err := keys.OpenRing(filepath.Join(n.dir, "keys", "epochs", collection), filepath.Join(n.dir, "wrapping", collection),
		collection)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ring.Load(epoch)
	if err != nil {
		t.Fatal(err)
	}
	key, err := oprf.ParsePrivateKey(k.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// cells returns tags and masked labels of a set. It decodes segments as section 9 of
// proto/SPEC.md says, so that the test does not trust what it tests.
func cells(t *testing.T, s *psi.Set) (tags [][2]uint64, labels [][16]byte, nonces [][16]byte) {
	t.Helper()
	for i, b := range s.Segments() {
		u := func(at int) int { return int(binary.BigEndian.Uint32(b[at:])) }
		bit := func(at int) uint64 { return uint64(b[at/8] >> (7 - at%8) & 1) }
		l, n, first, blocks := int(b[2]), u(4), u(8), u(12)
		quotient := 8 * (20 + 4*blocks)
		rest := quotient + 8*u(16)
		at := rest/8 + (n*l+7)/8
		if len(b) != at+16*n {
			t.Fatalf("a segment of %d bytes with %d tags", len(b), n)
		}
		block, last := 0, uint64(0)
		for k := range n {
			for block+1 < blocks && int(binary.BigEndian.Uint16(b[24+4*block:])) <= k {
				block, last = block+1, 0
			}
			q, r := uint64(0), uint64(0)
			for ; bit(quotient) == 0; quotient++ {
				q++
			}
			quotient++
			for range l {
				r = r<<1 | bit(rest)
				rest++
			}
			last += q<<l + r
			tags = append(tags, [2]uint64{uint64(first+128*block) + last>>l, last & (1<<l - 1)})
			labels = append(labels, [16]byte(b[at+16*k:]))
			nonces = append(nonces, s.Manifest().Segments[i].Nonce)
		}
	}
	return tags, labels, nonces
}

// testTags looks at the copies of tag sets that askers hold.
func testTags(t *testing.T, w *world) {
	utopia, norlanda := openHeld(t, w.utopia, w.valdera, "watchlist"), openHeld(t, w.norlanda, w.valdera, "watchlist")
	second, other := openHeld(t, w.utopia, w.valdera, "documents"), openHeld(t, w.utopia, w.norlanda, "watchlist")

	// Handles are eight random bytes: no two are equal, among askers and lists, and
	// their bits are fair.
	seen := make(map[[8]byte]bool)
	ones, total := 0, 0
	for _, h := range []*held{utopia, norlanda, second, other} {
		if len(h.handles) < 40 {
			t.Errorf("control: %d handles", len(h.handles))
		}
		for _, handle := range h.handles {
			if seen[handle] {
				t.Error("a handle is there twice")
			}
			seen[handle] = true
			for _, b := range handle {
				ones, total = ones+bits.OnesCount8(b), total+8
			}
		}
	}
	// Five standard deviations of a fair coin are 2.5 times the root of the number.
	if d := 2*ones - total; d*d > 25*total {
		t.Errorf("%d of %d bits of handles are set", ones, total)
	}

	// Two askers share neither tags nor labels, whoever pools them.
	for class, s := range utopia.sets {
		tags, labels, _ := cells(t, s)
		for what, o := range map[string]*held{"another asker": norlanda, "another list of the same people": second,
			"another country": other} {
			theirTags, theirLabels, _ := cells(t, o.sets[class])
			// The rest alone, because the number of buckets is another in a set of
			// another size. By chance two are equal in one run of 10^5.
			inTags, inLabels := make(map[uint64]bool), make(map[[16]byte]bool)
			for i := range theirTags {
				inTags[theirTags[i][1]], inLabels[theirLabels[i]] = true, true
			}
			for i := range tags {
				if inTags[tags[i][1]] || inLabels[labels[i]] {
					t.Errorf("%s: tag or label %d is also that of %s", class, i, what)
				}
			}
		}
	}

	// With the holder's key the tags of its records open, and no others: what an
	// asker holds is worthless without an evaluation by the holder.
	wrong := make(map[string][]oprf.Output)
	opened := 0
	for _, r := range w.lists[w.valdera.td] {
		for _, k := range r.Keys() {
			class := string(k.Class)
			s := utopia.sets[class]
			f, err := utopia.server.Evaluate(k.Bytes, s.Manifest().Info.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range s.Lookup(f) {
				if handle, ok := utopia.handles[r.ID]; ok && handle == [8]byte(l.Handle) {
					opened++
				}
				if l.Kind != 0 || l.Instruction != 0 {
					t.Error("a label has a code that the agreement does not list")
				}
			}
			// The output for another asker, or for another class, opens nothing here.
			g, err := utopia.server.Evaluate(k.Bytes, norlanda.sets[class].Manifest().Info.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if labels := s.Lookup(g); len(labels) > 0 {
				t.Errorf("%s: the output of another asker opens a label", class)
			}
			if len(wrong[class]) < 4 {
				wrong[class] = append(wrong[class], g)
			}
		}
	}
	if opened < 100 {
		t.Errorf("control: %d labels of records opened with the holder's key", opened)
	}

	// Every label under every wrong output, at every number: the check bytes fail.
	// Each of them passes by chance once in 2^32.
	tried := 0
	for class, s := range utopia.sets {
		_, labels, nonces := cells(t, s)
		for _, f := range wrong[class] {
			for j := range s.Sharers() {
				pads := make(map[[16]byte][16]byte)
				for i := range labels {
					pad, ok := pads[nonces[i]]
					if !ok {
						pad = labelPad(f, j, nonces[i])
						pads[nonces[i]] = pad
					}
					check := byte(0)
					for k := 12; k < 16; k++ {
						check |= labels[i][k] ^ pad[k]
					}
					if check == 0 {
						t.Errorf("%s: label %d opens under a wrong output", class, i)
					}
					tried++
				}
			}
		}
	}
	if tried < 10_000 {
		t.Errorf("control: %d labels tried", tried)
	}
	// The pads are the right ones: under the right output they open a label.
	r := w.lists[w.valdera.td][len(w.lists[w.valdera.td])-1]
	k := r.Keys()[0]
	s := utopia.sets[string(k.Class)]
	f, err := utopia.server.Evaluate(k.Bytes, s.Manifest().Info.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	_, labels, nonces := cells(t, s)
	handle := utopia.handles[r.ID]
	if !slices.ContainsFunc(labels, func(l [16]byte) bool {
		pad := labelPad(f, 0, nonces[0])
		for i := range l {
			l[i] ^= pad[i]
		}
		return bytes.Equal(l[:8], handle[:]) && bytes.Equal(l[12:], make([]byte, 4))
	}) {
		t.Error("control: the right output opens no label")
	}
}

// labelPad returns the pad of a label as the comment of package psi defines it. It
// is written again here, so that the test does not trust what it tests.
func labelPad(f oprf.Output, j int, nonce [16]byte) [16]byte {
	h := hmac.New(sha256.New, f[:]) // T(1) of HKDF-Expand, RFC 5869, Section 2.3
	h.Write([]byte("passerelle/psi/v1 label"))
	h.Write([]byte{byte(j)})
	h.Write(nonce[:])
	h.Write([]byte{1})
	return [16]byte(h.Sum(nil))
}
