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
//	f       = HKDF-Expand(F, "passerelle/psi/v1 tag" || u8(j), 16)
//	tag_j   = floor(f[0:8] * Count / 2^64) * 2^l + floor(f[8:16] / 2^(64-l)),  l = 40 + log2(J)
//	label_j = Label XOR HKDF-Expand(F, "passerelle/psi/v1 label" || u8(j) || nonce, 16)
//
// where f[a:b] are big-endian integers, Count is the number of tags of the set, and
// nonce is 16 fresh random bytes for each segment of each version: a pad is never
// used twice, whatever is restored from a backup. J, the number of positions that a
// lookup probes, is the next power of two of the largest number of records under one
// key. A tag is the number of a bucket, of which there are as many as tags, and a
// rest of l bits. So it has a length of
//
//	TagBits = ceil(log2(Count)) + 40 + log2(J)
//
// bits, and an element that is not in the collection has a tag in the set with a
// probability of at most 2^-40: each of its J tags is one of Count*2^l equally likely
// numbers, of which the set has Count, and J * Count / (Count*2^l) = 2^-40. (Buckets
// are equally likely but for one part in 2^36, by rounding.) This is per element: a
// request of 2^14 elements has a false tag with a probability of 2^-26. Four bytes of a
// label are zero and are checked, which leaves 2^-72 for a false label; they also
// catch damage that the hashes of the manifest would miss.
//
// # Decoys
//
// A set is padded with decoys to one of few sizes, see [PadCount]. A decoy is
// a tag and a label that nobody can open. Decoys are derived from the private key,
// and the same numbers make the same decoys in all versions of an epoch, because
// fresh ones could be told from the tags that stay.
//
// # Segments
//
// A set is stored in segments of [SegmentTags] tags, the last one excepted, in
// ascending order, in the coding 1 (Golomb-Rice). In the presentation language of
// RFC 8446, Section 3:
//
//	struct {
//	    uint8  coding = 1;
//	    uint8  kind;
//	    uint8  rest_bits;             // l
//	    uint8  label_size = 16;
//	    uint32 count;                 // tags
//	    uint32 first;                 // bucket of the first tag
//	    uint32 blocks;
//	    uint32 quotient_bytes;
//	    struct {
//	        uint16 tags;              // in the blocks before
//	        uint16 zeros;             // among the quotients of the blocks before
//	    } index[blocks];
//	    opaque quotients[quotient_bytes];
//	    opaque rests[ceil(count * rest_bits / 8)];
//	    opaque labels[count * 16];
//	} Segment;
//
// A block is 128 buckets, from first on, and may have no tag; the first and the last
// have at least one. A tag is stored as its gap: the distance from the tag before it in the
// block, or from the beginning of the block. The quotient of a gap by 2^rest_bits is
// that many bits 0 and one bit 1, and the remainder is rest_bits bits. Bits fill
// bytes from the highest on, and the bits that remain are zero. The index says where
// the tags and quotients of each block begin, so that a lookup reads one entry of it,
// decodes 64 tags on average, and touches nothing else but the label that it finds.
//
// Count tags in Count buckets have gaps of 2^l on average, for which Golomb-Rice
// codes take l + 1.58 bits; any code takes l + 1.44 at least. The index takes 0.25
// more: 5.23 bytes a tag for J = 1, and 5.98 for J = 64. (Elias-Fano codes take
// l + 2 bits and an index, which is more than 6 bytes for J = 64.) A segment has at
// most 2*count/128 + 2 blocks, twice what evenly spread tags need, and at most 65,535
// zeros before its last block.
//
// There is one encoding of the same tags and labels. [OpenSet] refuses any other,
// and takes no memory that depends on what a segment says. What is not known is
// refused; the kind of an update round has a number to come.
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
// constant time, and neither is the memory that they touch; their timing must not be
// shown to the holder.
//
// Somebody who watches the asker's machine and sees which memory, pages or parts of
// files a lookup touches, or how long it takes exactly, learns the blocks that it
// searched, and from the label whether it found something, and which tag. Without an
// output that says nothing about whose key it was, because tags are pseudorandom. But
// two lookups of one key in one epoch search the same blocks, so repetitions show; and
// with the set and the holder's key, likely keys can be tried against the blocks.
// Who can watch this can usually read the keys themselves from the asker's memory.
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
