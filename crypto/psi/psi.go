// Package psi implements collections as sets of tags that a neighbour can search
// without the holder of the collection learning what is searched.
//
// The holder evaluates the POPRF of package oprf for each lookup key of a
// collection and publishes a [Set] of truncated outputs, with a masked [Label]
// beside each. The asker lets the holder evaluate its own keys blindly, and looks
// the outputs up in its copy of the set.
//
//	holder                                             asker
//	set := Build(server, params, records)
//	             manifest, segments  ------------->    set := OpenSet(...)
//	             <--  package oprf: blind evaluation  -->
//	                                                   labels := set.Lookup(output)
//
// # Tags and labels
//
// Let F be the output of the POPRF for a key, under the info that is
// [Info.Bytes]. The records that share a key are numbered from j = 0, in the
// order of their handles. With HKDF-Expand on SHA-256 and F as the key,
//
//	tag_j   = HKDF-Expand(F, "passerelle/psi/v1 tag" || u8(j), TagBits)
//	label_j = Label XOR HKDF-Expand(F, "passerelle/psi/v1 label" || u8(j) || nonce, 16)
//
// where a tag is the first bytes of the output with the surplus high bits of the
// first byte cleared, and nonce is 16 fresh random bytes for each segment of each
// version: a pad is never used twice, whatever is restored from a backup. J, the
// number of positions that a lookup probes, is the next power of two of the
// largest number of records under one key.
//
//	TagBits = 40 + ceil(log2(Count)) + log2(J)
//
// so that an element that is not in the collection has a tag in the set with a
// probability of at most 2^-40. This is per element: a request of 2^14 elements
// has a false tag with a probability of 2^-26. Four bytes of a label are zero and
// are checked, which leaves 2^-72 for a false label; they also catch damage that
// the hashes of the manifest would miss.
//
// # Decoys
//
// A set is padded with decoys to one of few sizes, see [PadCount]. A decoy is
// a tag and a label that nobody can open. Decoys are derived from the private key
// and are the same in all versions of an epoch, because fresh ones could be told
// from the tags that stay.
//
// # Segments
//
// A set is stored in segments of [SegmentTags] tags, the last one excepted, in
// the coding 1 (plain), in the presentation language of RFC 8446, Section 3:
//
//	struct {
//	    uint8  coding = 1;
//	    uint8  kind;
//	    uint8  tag_bits;
//	    uint8  label_size = 16;
//	    uint32 count;
//	    opaque tags[count * ceil(tag_bits / 8)];
//	    opaque labels[count * 16];
//	} Segment;
//
// Tags are big-endian and strictly ascending, within a segment and from one to
// the next. Other codings (Golomb-Rice) and the kind of an update round have
// numbers to come; what is not known is refused.
//
// # Who learns what
//
// The asker learns from a set its padded size, J (so, within a factor of two, the
// largest number of records under one key), and from two versions of one epoch how
// many tags changed, but not whether by addition or removal: a removed tag is
// replaced by a decoy, and the other way round. (A tag that comes back after it
// went is more likely a decoy than not, and a size that changes tells on which
// side of a step the collection is.) It learns whether an output that it has
// computed is in the set, and then the labels. It keeps this knowledge: a removed
// record stays findable in an old set until the key of the epoch is destroyed.
// Whoever gets hold of that key opens every set of the epoch by trying likely keys.
//
// The holder learns nothing from a lookup, which is local. Lookups are not
// constant time; their timing must not be shown to the holder.
//
// A malicious holder can put any tag in a set, for instance that of a key which
// belongs to no record. The manifest commits it to what it did: it is signed, its
// hash names the version before it, and an auditor of the holder can build the
// set again from records and key.
//
// A [Set] and a [Manifest] that is not modified may be used concurrently. Storage
// and transport of segments, and the register of heads that makes a second
// successor impossible, are out of scope.
package psi

import (
	"errors"
	"math/bits"
)

var (
	// ErrInput is returned for parameters or records of the caller's own that no
	// set can be built from.
	ErrInput = errors.New("psi: invalid input")

	// ErrCollision is returned by [Build] if two keys have the same tag. No
	// version of this epoch can hold both; build with the key of a new epoch.
	ErrCollision = errors.New("psi: two keys have the same tag")

	// ErrMalformed is returned for an info or manifest that is not well formed.
	ErrMalformed = errors.New("psi: malformed")

	// ErrSignature is returned for a manifest that the holder has not signed.
	ErrSignature = errors.New("psi: signature verification failed")

	// ErrSet is returned for segments that are not those of the manifest, or
	// break the rules of the format.
	ErrSet = errors.New("psi: set does not match its manifest")

	// ErrChain is returned for a manifest that does not follow the one before.
	// If both are signed, they are evidence against the holder.
	ErrChain = errors.New("psi: manifest does not follow its predecessor")

	// ErrStale is returned for a manifest that is too old, or not yet valid.
	ErrStale = errors.New("psi: manifest is not current")
)

const (
	// SegmentTags is the number of tags in each segment but the last.
	SegmentTags = 1 << 16

	// MinCount is the size of the smallest set.
	MinCount = 1 << 10

	// MaxCount is the size of the largest set.
	MaxCount = 1 << 28

	// MaxSharers is the largest J: how many records may share one key.
	MaxSharers = 64

	// falsePositiveBits is the negative logarithm of the probability that an
	// element which is not in the collection has a tag in the set.
	falsePositiveBits = 40

	maxTagBits = falsePositiveBits + 28 + 6
	maxTagSize = (maxTagBits + 7) / 8
)

// PadCount returns the number of tags to which a set with n tags is padded with
// decoys: the next of 1024 and, above, eight equidistant sizes for each doubling.
// So at most an eighth is added, once there are more than 1024.
func PadCount(n int) int {
	if n <= MinCount {
		return MinCount
	}
	step := 1 << (bits.Len(uint(n-1)) - 4)
	return (n + step - 1) / step * step
}

// ceilLog2 returns the logarithm of n, at least 1, to the base two, rounded up.
func ceilLog2(n int) int { return bits.Len(uint(n - 1)) }

// tagBits returns the length of tags for a false-positive rate of 2^-fp.
func tagBits(fp, count, sharers int) int { return fp + ceilLog2(count) + ceilLog2(sharers) }
