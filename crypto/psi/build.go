package psi

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// A Record is one lookup key of one record, with the label for it. A record of
// several keys is several Records with the same handle.
type Record struct {
	// Key is the canonical lookup key, 1 to oprf.MaxInputSize bytes.
	Key []byte

	Label Label
}

// Params are what a set is built with, besides its records.
type Params struct {
	Info Info

	// PublicKey is the key that the agreement pins. Build refuses a server that
	// has another.
	PublicKey oprf.PublicKey

	// Version, Previous, Created and NotAfter are those of the Manifest. Times
	// are rounded down to milliseconds.
	Version           uint64
	Previous          [32]byte
	Created, NotAfter time.Time

	// Sharers is the least J, from 0 to MaxSharers. A J that stays the same over
	// versions does not show when the largest number of records under one key
	// changes. Zero means what the records need.
	Sharers int

	// Workers is how many goroutines evaluate. Zero means as many as may run.
	Workers int

	// Progress is called, unless it is nil, with the number of keys that have
	// been evaluated and that of all, from time to time and once at the end.
	// It is never called twice at once.
	Progress func(done, total int)
}

// An entry is one tag of a set that is being built.
type entry struct {
	tag    tag
	key    int32 // index of the key, -1 for a decoy
	record int32
	number uint8 // j
}

// Build evaluates all records and returns their set.
//
// It returns an error wrapping [ErrInput] if params or a record is invalid, if
// more than MaxSharers records share a key, or if two records have the same key
// and the same handle, which is a duplicate; [ErrCollision], which see; and
// ctx.Err() if ctx ends. Errors name records by index. On a machine of 2 cores it
// takes about 50 microseconds a key.
func Build(ctx context.Context, server *oprf.Server, p Params, records []Record) (*Set, error) {
	return build(ctx, server, p, records, falsePositiveBits)
}

// build is Build for a false-positive rate of 2^-fp.
func build(ctx context.Context, server *oprf.Server, p Params, records []Record, fp int) (*Set, error) {
	if server.PublicKey() != p.PublicKey {
		return nil, fmt.Errorf("%w: the server has key %s, not %s", ErrInput, server.PublicKey().KeyID(), p.PublicKey.KeyID())
	}
	if err := p.Info.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if p.Sharers < 0 || p.Sharers > MaxSharers || p.Workers < 0 {
		return nil, fmt.Errorf("%w: sharers or workers", ErrInput)
	}
	groups, sharers, err := group(records)
	if err != nil {
		return nil, err
	}
	sharers = 1 << ceilLog2(max(sharers, p.Sharers, 1))
	if len(records) > MaxCount {
		return nil, fmt.Errorf("%w: %d records", ErrInput, len(records))
	}
	count := PadCount(len(records))
	m := &Manifest{
		Info:      p.Info,
		PublicKey: p.PublicKey,
		Version:   p.Version,
		Previous:  p.Previous,
		Created:   p.Created.UTC().Truncate(time.Millisecond),
		NotAfter:  p.NotAfter.UTC().Truncate(time.Millisecond),
		TagBits:   uint8(tagBits(fp, count, sharers)),
		Sharers:   uint8(sharers),
		Count:     uint32(count),
	}
	left := count
	for left > 0 {
		n := min(left, SegmentTags)
		s := Segment{Coding: CodingRice, Kind: KindBase, Count: uint32(n)}
		s.Size, _ = segmentSizes(n, m.restBits()) // until it is known
		rand.Read(s.Nonce[:])                     // never fails, see its documentation
		m.Segments = append(m.Segments, s)
		left -= n
	}
	// Refuse what nobody could open before working for an hour.
	if err := m.validate(fp); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}

	outputs, err := evaluate(ctx, server, p, records, groups)
	if err != nil {
		return nil, err
	}
	entries, err := tags(server, m, records, groups, outputs)
	if err != nil {
		return nil, err
	}
	return write(ctx, m, records, entries, outputs, p.Workers, fp)
}

// group returns the indexes of the records of each key, in the order of their
// handles, and the largest number of records under one key.
func group(records []Record) (groups [][]int32, sharers int, err error) {
	byKey := make(map[string]int, len(records))
	for i := range records {
		r := &records[i]
		if n := len(r.Key); n == 0 || n > oprf.MaxInputSize {
			return nil, 0, fmt.Errorf("%w: record %d has a key of %d bytes", ErrInput, i, n)
		}
		if r.Label.Handle == (Handle{}) {
			return nil, 0, fmt.Errorf("%w: record %d has no handle", ErrInput, i)
		}
		g, ok := byKey[string(r.Key)]
		if !ok {
			g = len(groups)
			byKey[string(r.Key)] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], int32(i))
	}
	for _, g := range groups {
		slices.SortFunc(g, func(a, b int32) int {
			return bytes.Compare(records[a].Label.Handle[:], records[b].Label.Handle[:])
		})
		for k := 1; k < len(g); k++ {
			if records[g[k-1]].Label.Handle == records[g[k]].Label.Handle {
				return nil, 0, fmt.Errorf("%w: records %d and %d have the same key and handle", ErrInput, g[k-1], g[k])
			}
		}
		if len(g) > MaxSharers {
			return nil, 0, fmt.Errorf("%w: %d records share the key of record %d", ErrInput, len(g), g[0])
		}
		sharers = max(sharers, len(g))
	}
	return groups, sharers, nil
}

// evaluate returns the output for the key of each group.
func evaluate(ctx context.Context, server *oprf.Server, p Params, records []Record, groups [][]int32) ([]oprf.Output, error) {
	info := p.Info.Bytes()
	outputs := make([]oprf.Output, len(groups))
	var mu sync.Mutex // guards done and calls of Progress
	done := 0
	report := func(n int) {
		if p.Progress == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		done += n
		p.Progress(done, len(groups))
	}
	err := split(ctx, p.Workers, len(groups), 256, func(from, to int) error {
		for i := from; i < to; i++ {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("psi: building: %w", err)
			}
			var err error
			if outputs[i], err = server.Evaluate(records[groups[i][0]].Key, info); err != nil {
				return fmt.Errorf("psi: building: record %d: %w", groups[i][0], err)
			}
		}
		report(to - from)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		report(0)
	}
	return outputs, nil
}

// split calls f for consecutive parts of 0 to n, on several goroutines, and
// returns the first error.
func split(ctx context.Context, workers, n, part int, f func(from, to int) error) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range min(workers, (n+part-1)/part) {
		wg.Go(func() {
			for {
				to := int(next.Add(int64(part)))
				from := to - part
				if from >= n {
					return
				}
				err := ctx.Err()
				if err != nil {
					err = fmt.Errorf("psi: building: %w", err)
				} else {
					err = f(from, min(to, n))
				}
				if err != nil {
					once.Do(func() { first = err })
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// tags returns the sorted entries of the set, decoys included.
func tags(server *oprf.Server, m *Manifest, records []Record, groups [][]int32, outputs []oprf.Output) ([]entry, error) {
	var x expander
	entries := make([]entry, 0, m.Count)
	for i, g := range groups {
		x.set(&outputs[i])
		for j, r := range g {
			entries = append(entries, entry{x.tag(j, m.Count, m.restBits()), int32(i), r, uint8(j)})
		}
	}
	sortEntries(entries)
	for k := 1; k < len(entries); k++ {
		if entries[k-1].tag == entries[k].tag {
			return nil, fmt.Errorf("%w: records %d and %d", ErrCollision, entries[k-1].record, entries[k].record)
		}
	}

	// The seed of the decoys is an output that no asker can get, because its info
	// is not one that is evaluated for anybody.
	info := m.Info.Bytes()
	info[0] = decoyVersion
	seed, err := server.Evaluate([]byte("decoys"), info)
	if err != nil {
		return nil, fmt.Errorf("psi: building: %w", err)
	}
	x.set(&seed)
	taken := make(map[tag]bool)
	real := entries
	for number := uint32(0); len(entries) < int(m.Count); number++ {
		e := entry{tag: x.decoy(number, m.Count, m.restBits()), key: -1}
		_, found := slices.BinarySearchFunc(real, e.tag, func(e entry, t tag) int { return e.tag.compare(t) })
		if found || taken[e.tag] {
			continue
		}
		taken[e.tag] = true
		entries = append(entries, e)
	}
	sortEntries(entries)
	return entries, nil
}

func sortEntries(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return a.tag.compare(b.tag) })
}

// write encodes the segments and completes the manifest.
func write(ctx context.Context, m *Manifest, records []Record, entries []entry, outputs []oprf.Output,
	workers, fp int) (*Set, error) {
	segments := make([][]byte, len(m.Segments))
	err := split(ctx, workers, len(segments), 1, func(i, _ int) error {
		d := &m.Segments[i]
		part := entries[i*SegmentTags:][:d.Count]
		tags := make([]tag, len(part))
		for k := range part {
			tags[k] = part[k].tag
		}
		s := newSegment(tags, m.restBits())
		rand.Read(s.b[s.labels:]) // decoys keep this
		var x expander
		for k := range part {
			e := &part[k]
			if e.key < 0 {
				continue
			}
			l := records[e.record].Label.bytes()
			x.set(&outputs[e.key])
			x.mask(&l, int(e.number), &d.Nonce)
			*s.label(k) = l
		}
		segments[i], d.Size, d.Hash = s.b, uint64(len(s.b)), sha256.Sum256(s.b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s, err := openSet(m, segments, fp)
	if err != nil {
		panic("psi: internal error: built a set that does not open: " + err.Error())
	}
	return s, nil
}
