package query

import "time"

// Terms is what the two sides of a federation have in common, as the answering
// side says it. It never names another country.
type Terms struct {
	Protocols      []uint16 // supported protocol versions, newest first
	Normalisations []uint16 // supported versions of the normal forms, newest first
	Software       string
	Agreements     []AgreementTerms
	Checkpoint     []byte    // latest checkpoint of the shared log, a signed note
	Time           time.Time // the answering side's clock
}

// AgreementTerms is one agreement as the answering side holds it.
type AgreementTerms struct {
	Agreement   string
	Digest      [32]byte
	Status      AgreementStatus
	Collections []CollectionTerms
}

// An AgreementStatus says whether an agreement is in force.
type AgreementStatus uint8

// The states of an agreement. The zero status is invalid.
const (
	Draft      AgreementStatus = 1
	NotYet     AgreementStatus = 2
	Active     AgreementStatus = 3
	Suspended  AgreementStatus = 4
	Expired    AgreementStatus = 5
	Superseded AgreementStatus = 6
)

// CollectionTerms is the head of the tag sets of one collection made for the
// calling asker. ListVersion 0 means that nothing is published yet.
type CollectionTerms struct {
	Collection  string
	ListVersion uint64
	Published   time.Time
	Heads       []ManifestHead // in the class order of the agreement
}

// A ManifestHead names the newest manifest of one key class.
type ManifestHead struct {
	Class string
	Epoch uint32
	Hash  [32]byte
}

// A SyncRequest asks for the tag sets of one collection.
type SyncRequest struct {
	Agreement       string
	AgreementDigest [32]byte
	Collection      string
	FromVersion     uint64     // list version the asker has, 0 for none
	FromLogSize     uint64     // size of the last checkpoint the asker verified, 0 for none
	Held            [][32]byte // hashes of segments the asker has
}

// A SyncHeader is everything by which an asker checks the segments that follow.
type SyncHeader struct {
	ListVersion uint64
	Classes     []ManifestChain
	Checkpoint  CheckpointProof
}

// A ManifestChain is the manifests of one key class after the asker's version,
// oldest first, each with the proof that the holder's log has it.
type ManifestChain struct {
	Class     string
	Manifests []PublishedManifest
}

// A PublishedManifest is a signed manifest and its entry in the holder's log.
type PublishedManifest struct {
	Signed []byte
	Proof  LogProof
}

// A Segment is one part of a segment of the newest manifest of a class.
type Segment struct {
	Class  string
	Index  uint32
	Offset uint64
	Data   []byte
}

// A LogProof is an entry of a log with the proof that the log has it.
type LogProof struct {
	Entry []byte // canonical bytes
	Proof []byte // c2sp.org/tlog-proof
}

// A CheckpointProof is a checkpoint and the proof that it extends the size that
// was asked for (RFC 6962, Section 2.1.2); the proof is empty for size 0 and for
// the checkpoint's own size.
type CheckpointProof struct {
	Checkpoint  []byte
	Consistency [][32]byte
}
