package psi

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// MaxNameSize bounds each name in an Info, in bytes.
const MaxNameSize = 128

// An Info says what a set is about. Its encoding is the public info of the POPRF,
// so outputs for two different Infos have nothing in common: neither do those of
// two askers, of two classes of key, or of two epochs.
type Info struct {
	// Protocol is the version of the lookup protocol, at least 1.
	Protocol uint16

	// Holder and Asker are the trust domains of the two countries. Each name here
	// has 1 to MaxNameSize printable ASCII characters and no space.
	Holder, Asker string

	// Collection names the collection, and Class the class of lookup keys.
	Collection, Class string

	// Normalisation is the version of the normal forms of lookup keys.
	Normalisation uint16

	// Epoch numbers the key of the collection.
	Epoch uint32
}

// Validate returns an error wrapping [ErrMalformed] if a field is out of bounds.
func (i Info) Validate() error {
	if i.Protocol == 0 {
		return fmt.Errorf("%w: info without a protocol version", ErrMalformed)
	}
	for _, n := range []struct{ what, name string }{
		{"holder", i.Holder}, {"asker", i.Asker}, {"collection", i.Collection}, {"class", i.Class},
	} {
		if len(n.name) == 0 || len(n.name) > MaxNameSize {
			return fmt.Errorf("%w: info with a %s of %d bytes", ErrMalformed, n.what, len(n.name))
		}
		for _, c := range []byte(n.name) {
			if c <= ' ' || c > '~' {
				return fmt.Errorf("%w: info with a %s that is not printable", ErrMalformed, n.what)
			}
		}
	}
	return nil
}

// infoVersion is the first byte of an encoded Info. The byte of the decoys is
// another, so that no asker can be given the seed of the decoys as an output.
const (
	infoVersion  = 1
	decoyVersion = 0xd0
)

// Bytes returns the encoding of i:
//
//	struct {
//	    uint8  version = 1;
//	    uint16 protocol;
//	    opaque holder<1..128>;
//	    opaque asker<1..128>;
//	    opaque collection<1..128>;
//	    opaque class<1..128>;
//	    uint16 normalisation;
//	    uint32 epoch;
//	} Info;
//
// in the presentation language of RFC 8446, Section 3. No encoding is a prefix of
// another. It returns nil if Validate returns an error; package oprf refuses nil.
func (i Info) Bytes() []byte {
	if i.Validate() != nil {
		return nil
	}
	var b cryptobyte.Builder
	b.AddUint8(infoVersion)
	b.AddUint16(i.Protocol)
	for _, n := range []string{i.Holder, i.Asker, i.Collection, i.Class} {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
	}
	b.AddUint16(i.Normalisation)
	b.AddUint32(i.Epoch)
	return b.BytesOrPanic()
}

// ParseInfo parses the encoding returned by [Info.Bytes]. There is exactly one
// valid encoding of every Info. It returns an error wrapping [ErrMalformed] for
// anything else.
func ParseInfo(b []byte) (Info, error) {
	s := cryptobyte.String(b)
	i, ok := readInfo(&s)
	if !ok || !s.Empty() {
		return Info{}, fmt.Errorf("%w: info", ErrMalformed)
	}
	if err := i.Validate(); err != nil {
		return Info{}, err
	}
	return i, nil
}

func readInfo(s *cryptobyte.String) (i Info, ok bool) {
	var version uint8
	if !s.ReadUint8(&version) || version != infoVersion || !s.ReadUint16(&i.Protocol) {
		return Info{}, false
	}
	for _, p := range []*string{&i.Holder, &i.Asker, &i.Collection, &i.Class} {
		var n cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&n) {
			return Info{}, false
		}
		*p = string(n)
	}
	if !s.ReadUint16(&i.Normalisation) || !s.ReadUint32(&i.Epoch) {
		return Info{}, false
	}
	return i, true
}
