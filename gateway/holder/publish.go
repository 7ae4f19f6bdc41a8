package holder

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/facts"
	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// maxManifestLife is the longest time that a manifest is valid: until then it is
// published anew, even if nothing changed.
const maxManifestLife = 7 * 24 * time.Hour

// A Publication says what became of the records of one collection for one asker.
// It holds counts only.
type Publication struct {
	Asker, Collection string
	ListVersion       uint64
	Epoch             uint32
	Unchanged         bool // the version that is there is still right
	Records           int  // of the collection
	Published         int  // records that the publish door let through
	Keys              int  // lookup keys of those
	Tags              uint64
	Withheld          map[string]int // records left out, by rule id
	WithoutKeys       int            // records let through that give no lookup key
}

// Progress is told what a publication is doing: how many keys of one class, of how
// many, are done. It may be nil, and must be quick.
type Progress func(class string, done, total int)

// PublishAll publishes every collection to every asker whose agreement is active.
// It goes on after an error, and returns all of them joined.
func (h *Holder) PublishAll(ctx context.Context, progress Progress) ([]Publication, error) {
	var all []Publication
	var errs []error
	seen := make(map[[2]string]bool)
	now := h.Now()
	for _, info := range h.Agreements.List(now) {
		other, err := info.Agreement.Other(h.TrustDomain)
		if err != nil || info.State != agreement.Active || info.Superseded {
			continue
		}
		for _, c := range info.Agreement.Held(h.TrustDomain) {
			key := [2]string{other.TrustDomain, c.Name}
			if seen[key] || !h.Peers.Active(other.TrustDomain) {
				continue
			}
			seen[key] = true
			p, err := h.Publish(ctx, other.TrustDomain, c.Name, progress)
			if err != nil {
				errs = append(errs, fmt.Errorf("holder: publishing %s to %s: %w", c.Name, other.TrustDomain, err))
				continue
			}
			all = append(all, *p)
		}
	}
	return all, errors.Join(errs...)
}

// Publish builds the tag sets of one collection for one asker, if anything they
// depend on has changed, and publishes them as the next list version.
//
// For every record the publish door decides; a record that is left out looks
// exactly like no record. The hash of each manifest is an entry of the shared log
// before an asker can see it. When Publish returns nil the version is durable.
//
// Publications of the same list wait for each other. If ctx ends first, Publish
// returns an error wrapping ctx.Err(), and no version is published; segments and
// entries of manifests that nobody will see may remain. progress may be nil.
func (h *Holder) Publish(ctx context.Context, asker, collection string, progress Progress) (*Publication, error) {
	unlock, err := h.lock(ctx, asker+"/"+collection)
	if err != nil {
		return nil, err
	}
	defer unlock()

	now := h.Now()
	a, digest, err := h.Agreements.ForAsker(asker, collection, now)
	if err != nil {
		return nil, err
	}
	c, err := a.Collection(h.TrustDomain, collection)
	if err != nil {
		return nil, err
	}
	epoch, server, err := h.Keys.Current(collection)
	if err != nil {
		return nil, err
	}
	b := &build{h: h, a: a, digest: digest, c: c, asker: asker, epoch: epoch, server: server, now: now, progress: progress,
		out:     Publication{Asker: asker, Collection: collection, Epoch: epoch, Withheld: make(map[string]int)},
		decided: newDecided(h.Policy.Facts())}
	b.agreed = facts.Agreement(a, digest, false)
	b.self, b.peer = facts.Gateway(a, h.TrustDomain, h.Gateway), facts.Gateway(a, asker, b.gateway())
	if err := b.previous(ctx); err != nil || b.out.Unchanged {
		return &b.out, err
	}
	if err := b.records(ctx); err != nil {
		return nil, err
	}
	vanished, err := b.vanished(ctx)
	if err == nil && vanished {
		err = b.nextEpoch(ctx)
	}
	if err != nil {
		return nil, err
	}
	keys, err := b.keys(ctx)
	if err != nil {
		return nil, err
	}

	// All sets are built before any is logged: one that cannot be published must
	// not leave entries that promise the others.
	b.out.ListVersion = b.version + 1
	heads := make([]store.Head, len(c.Classes))
	for i, class := range c.Classes {
		if heads[i], err = b.class(ctx, class, keys[class]); err != nil {
			return nil, err
		}
	}
	if _, err := h.Keys.Server(collection, b.epoch); err != nil { // it ended while the sets were built
		return nil, err
	}
	for i := range heads {
		index, err := b.log(ctx, heads[i].Hash)
		if err != nil {
			return nil, err
		}
		heads[i].Proof = binary.BigEndian.AppendUint64(nil, index) // proved anew when it is shown
	}
	b.basis.Version, b.basis.Records = b.out.ListVersion, int64(b.out.Published)
	b.basis.Withheld = int64(b.out.Records - b.out.Published)
	b.basis.WithheldBy = make(map[string]int64, len(b.out.Withheld))
	for rule, n := range b.out.Withheld {
		b.basis.WithheldBy[rule] = int64(n)
	}
	if err := h.Store.PutPublished(ctx, b.basis, heads...); err != nil {
		return nil, err
	}
	// The version before stays for those who are fetching it.
	if err := h.Store.PruneSegments(ctx, store.Published, asker, collection, b.version); err != nil {
		h.log.ErrorContext(ctx, "old tag sets not removed", "peer", asker, "collection", collection, "err", err)
	}
	for _, rule := range slices.Sorted(maps.Keys(b.out.Withheld)) {
		h.log.InfoContext(ctx, "records withheld", "peer", asker, "collection", collection, "rule", rule)
	}
	h.log.InfoContext(ctx, "tag sets published", "peer", asker, "collection", collection, "list_version", b.out.ListVersion)
	return &b.out, nil
}

// class builds the set of one key class, and stores its segments. The set is not
// published before the heads of all classes advance together.
func (b *build) class(ctx context.Context, class string, keys []psi.Record) (store.Head, error) {
	set, err := psi.Build(ctx, b.server, psi.Params{
		Info:      b.h.info(b.asker, b.c.Name, class, b.epoch),
		PublicKey: b.server.PublicKey(),
		Version:   b.out.ListVersion,
		Previous:  b.heads[class],
		Created:   b.now,
		NotAfter:  b.now.Add(maxManifestLife),
		Progress:  b.report(class),
	}, keys)
	if err != nil {
		return store.Head{}, err
	}
	if int64(set.Len()) > b.c.MaxTags() { // the asker would refuse all of it
		return store.Head{}, fmt.Errorf("holder: %d tags of class %s are more than agreement %s permits", set.Len(), class, b.a.ID)
	}
	signed, err := set.Manifest().Sign(b.h.StatementKey)
	if err != nil {
		return store.Head{}, err
	}
	head := store.Head{Side: store.Published, Peer: b.asker, Collection: b.c.Name, Class: class,
		Version: b.out.ListVersion, Epoch: b.epoch, Hash: set.Manifest().Hash(), Previous: b.heads[class],
		Manifest: signed.Bytes(), Created: b.now}
	for _, segment := range set.Segments() {
		hash, err := b.h.Store.PutSegment(ctx, segment)
		if err != nil {
			return store.Head{}, err
		}
		head.Segments = append(head.Segments, hash)
	}
	b.out.Tags += uint64(set.Len())
	return head, nil
}

// A build is one publication on its way.
type build struct {
	h        *Holder
	a        *agreement.Agreement
	digest   agreement.Digest
	c        *agreement.Collection
	asker    string
	epoch    uint32
	server   *oprf.Server // of epoch
	now      time.Time
	progress Progress
	version  uint64              // list version before, 0 for none
	heads    map[string][32]byte // manifest hash before, by class
	basis    store.Publication   // everything the sets depend on
	out      Publication

	agreed     policy.Agreement // what is the same for every record
	self, peer policy.Gateway
	decided    *decided
	let        []judged // records that are let through and have keys
	withheld   []string // ids of those that are not let through
}

// previous reads the version that is published now, and finds out whether it is
// still right: the same records, agreement, rules, key and day give the same sets.
// The day counts because rules depend on dates, such as a review date.
func (b *build) previous(ctx context.Context) error {
	records, err := b.h.Store.CollectionVersion(ctx, b.c.Name)
	if err != nil {
		return err
	}
	b.basis = store.Publication{Peer: b.asker, Collection: b.c.Name, Epoch: b.epoch, CollectionVersion: records,
		Agreement: b.digest, Bundle: b.h.Policy.BundleDigest(), Created: b.now}
	b.heads = make(map[string][32]byte)
	last, err := b.h.Store.Published(ctx, b.asker, b.c.Name)
	if errors.Is(err, store.ErrNotFound) {
		b.epoch, b.server, err = b.h.committed(b.c.Name, b.c.KeyCommitment)
		b.out.Epoch, b.basis.Epoch = b.epoch, b.epoch
		return err
	}
	if err != nil {
		return err
	}
	heads, err := b.h.Store.Heads(ctx, store.Published, b.asker, b.c.Name)
	if err != nil {
		return err
	}
	b.version = last.Version
	for i := range heads {
		b.heads[heads[i].Class] = heads[i].Hash
	}
	if last.Epoch == b.epoch && last.CollectionVersion == records && last.Agreement == b.basis.Agreement &&
		last.Bundle == b.basis.Bundle && last.Created.UTC().Format(time.DateOnly) == b.now.UTC().Format(time.DateOnly) {
		b.out.Unchanged, b.out.ListVersion = true, last.Version
	}
	return nil
}

// A judged is one record, and what became of it.
type judged struct {
	id     string
	weight uint16
	kind   uint8
	instr  uint8
	keys   []record.Key
	*verdict
}

// judgedAtOnce is how many records are read before they are decided about, on all
// cores.
const judgedAtOnce = 1024

// records asks the publish door about every record of the collection.
func (b *build) records(ctx context.Context) error {
	waiting := make([]store.RecordRow, 0, judgedAtOnce)
	decide := func() error {
		results, err := b.judge(ctx, waiting)
		if err != nil {
			return err
		}
		b.out.Records += len(waiting)
		waiting = waiting[:0]
		for i := range results {
			r := &results[i]
			switch {
			case !r.allowed:
				b.withheld = append(b.withheld, r.id)
				for _, rule := range r.denied {
					b.out.Withheld[rule]++
				}
				continue
			case len(r.keys) == 0:
				b.out.WithoutKeys++
			default:
				b.let = append(b.let, *r)
			}
			b.out.Published++
		}
		return nil
	}
	for row, err := range b.h.Store.Records(ctx, b.c.Name) {
		if err != nil {
			return err
		}
		if waiting = append(waiting, row); len(waiting) == judgedAtOnce {
			if err := decide(); err != nil {
				return err
			}
		}
	}
	if err := decide(); err != nil {
		return err
	}
	if int64(b.out.Published) > b.c.MaxRecords {
		return fmt.Errorf("holder: %d records to publish are more than the %d that agreement %s permits",
			b.out.Published, b.c.MaxRecords, b.a.ID)
	}
	return nil
}

// vanished reports whether a record that the rules withhold now was published to this
// asker in this epoch. That it goes may say why, for instance that somebody was granted
// asylum, so it goes with the key, at once with all other tags.
func (b *build) vanished(ctx context.Context) (bool, error) {
	return b.h.Store.AnyHandle(ctx, b.asker, b.c.Name, b.epoch, b.withheld)
}

// nextEpoch moves b to a later epoch.
func (b *build) nextEpoch(ctx context.Context) error {
	err := b.h.after(ctx, b.c.Name, b.epoch)
	if err == nil {
		b.epoch, b.server, err = b.h.Keys.Current(b.c.Name)
	}
	b.out.Epoch, b.basis.Epoch = b.epoch, b.epoch
	return err
}

// keys returns the lookup keys of the records that are let through, by class, with the
// handles of this epoch.
func (b *build) keys(ctx context.Context) (map[string][]psi.Record, error) {
	rows := make([]store.HandleRow, len(b.let))
	for i := range b.let {
		rows[i] = store.HandleRow{Handle: psi.GenerateHandle(), RecordID: b.let[i].id}
	}
	rows, err := b.h.Store.PutHandles(ctx, b.asker, b.c.Name, b.epoch, rows)
	if err != nil {
		return nil, err
	}
	keys := make(map[string][]psi.Record)
	for i := range b.let {
		r := &b.let[i]
		for _, k := range r.keys {
			class := string(k.Class)
			if !slices.Contains(b.c.Classes, class) {
				continue
			}
			l := psi.Label{Handle: rows[i].Handle, Weight: weight(k.Class, r.weight)}
			l.Kind, l.Instruction = b.c.Shown(r.kind, r.instr)
			keys[class] = append(keys[class], psi.Record{Key: k.Bytes, Label: l})
			b.out.Keys++
		}
	}
	return keys, nil
}

// judge decides about records, and makes the keys of those that are let through. It
// returns one judged per row, in their order.
func (b *build) judge(ctx context.Context, rows []store.RecordRow) ([]judged, error) {
	results := make([]judged, len(rows))
	workers := min(runtime.GOMAXPROCS(0), len(rows))
	errs := make([]error, workers)
	var next atomic.Int64
	together.Do(workers, func(w int) {
		for errs[w] == nil {
			i := int(next.Add(1)) - 1
			if i >= len(rows) {
				return
			}
			if results[i], errs[w] = b.judgeOne(ctx, &rows[i]); errs[w] != nil {
				errs[w] = fmt.Errorf("holder: record %d: %w", b.out.Records+i+1, errs[w])
			}
		}
	})
	return results, errors.Join(errs...)
}

func (b *build) judgeOne(ctx context.Context, row *store.RecordRow) (judged, error) {
	var r record.Record
	if err := json.Unmarshal(row.JSON, &r); err != nil {
		return judged{}, errors.New("it cannot be read") // the text of the error may quote it
	}
	v, err := b.decided.decide(ctx, b.h.Policy, b.input(&r, row))
	if err != nil {
		return judged{}, fmt.Errorf("publish door: %w", err)
	}
	if !v.allowed {
		return judged{id: r.ID, verdict: v}, nil
	}
	return judged{id: r.ID, weight: r.Weight, kind: r.AlertKind, instr: r.Instruction, keys: r.Keys(), verdict: v}, nil
}

// input returns the facts of a record for the door `publish`.
func (b *build) input(r *record.Record, row *store.RecordRow) policy.PublishInput {
	return policy.PublishInput{
		Now:        policy.NewTime(b.now),
		Agreement:  b.agreed,
		Self:       b.self,
		Peer:       b.peer,
		Collection: b.c.Name,
		Category:   b.c.Category,
		Record: policy.Record{
			Originator: r.Originator, SourceList: r.SourceList, SubjectCategory: r.SubjectCategory,
			ProtectionStatus: r.ProtectionStatus, CountryOfOrigin: origin(r.CountryOfOrigin, b.peer.Country), Basis: r.Basis,
			ReliabilityGrade: r.ReliabilityGrade, CriterionCode: r.Criterion, Nominator: r.Nominator,
			RedressState: r.RedressState, LastVerified: policy.NewTime(earliest(r.LastVerified)),
			ReviewBy: policy.NewTime(earliest(r.ReviewBy)), State: row.State, Minor: minor(r, b.now),
		},
	}
}

// earliest returns the first moment that d allows, or the zero time if even its
// year is unknown: a rule about a date errs towards refusing.
func earliest(d record.Date) time.Time {
	if d.Year == 0 {
		return time.Time{}
	}
	return time.Date(d.Year, time.Month(max(d.Month, 1)), max(d.Day, 1), 0, 0, 0, 0, time.UTC)
}

// weights are the evidence of one match in a class, in units of which an
// agreement's threshold "identity" is made. A record's own weight scales them.
var weights = map[record.Class]uint16{
	record.ClassDoc: 900, record.ClassDocDOB: 1000, record.ClassNameDOB: 800, record.ClassNameYear: 500,
}

// weight returns the evidence weight of a key: that of its class, scaled by the
// record's own weight in thousandths if it has one.
func weight(class record.Class, own uint16) uint16 {
	w := uint32(weights[class])
	if own != 0 {
		w = min(w*uint32(own)/1000, 65535)
	}
	return uint16(w)
}

// log appends the entry of one manifest and returns its leaf index.
func (b *build) log(ctx context.Context, manifest [32]byte) (uint64, error) {
	position, err := b.h.Shared.Append(ctx, &entry.Entry{
		Kind: entry.KindManifestPublished, Time: b.now.UnixMilli(),
		Asker: b.gateway(), Holder: b.h.Gateway, Agreement: b.a.ID, AgreementDigest: b.digest,
		Collection: b.c.Name, Protocol: query.Protocol, Normalisation: record.Version,
		ListVersion: b.out.ListVersion, Subject: manifest,
	})
	return position.Index, err
}

// gateway returns the SPIFFE ID of the asker's gateway.
func (b *build) gateway() string {
	if p, err := b.a.Party(b.asker); err == nil {
		return p.Gateway
	}
	return "spiffe://" + b.asker + "/gateway/unknown"
}

func (b *build) report(class string) func(done, total int) {
	if b.progress == nil {
		return nil
	}
	return func(done, total int) { b.progress(class, done, total) }
}

// lock makes publications of the same list wait for each other, until ctx ends.
func (h *Holder) lock(ctx context.Context, list string) (unlock func(), err error) {
	h.mu.Lock()
	turn, ok := h.publishing[list]
	if !ok {
		turn = make(chan struct{}, 1)
		h.publishing[list] = turn
	}
	h.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("holder: waiting to publish: %w", ctx.Err())
	}
}
