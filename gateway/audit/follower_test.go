package audit_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
)

func TestFollower(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	// Two histories under one key: a log, and the same log restored from a backup
	// and continued otherwise.
	cfg := config(t, filepath.Join(t.TempDir(), "log"))
	l := open(t, cfg)
	mustAppend(t, l, denied(0))
	mustAppend(t, l, denied(1))
	mustClose(t, l)
	backup := cfg
	backup.Dir = copyDir(t, cfg.Dir)
	grow := func(l *audit.Log, from, n int) []byte {
		for i := range n {
			mustAppend(t, l, denied(from+i))
		}
		if err := l.Await(ctx, l.Size()-1); err != nil {
			t.Fatal(err)
		}
		msg, err := l.Checkpoint(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	proof := func(l *audit.Log, older, newer uint64) [][32]byte {
		h, err := l.ProveConsistency(ctx, older, newer)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	l = open(t, cfg)
	two := grow(l, 0, 0)
	five := grow(l, 10, 3)
	seven := grow(l, 20, 2)
	r := open(t, backup)
	otherFive := grow(r, 30, 3)
	otherSeven := grow(r, 40, 2)

	f := audit.NewFollower(cfg.Verifier)
	state, c, err := f.Advance(nil, two, nil)
	if err != nil || c.Size != 2 {
		t.Fatalf("first checkpoint: %+v, %v", c, err)
	}
	state, c, err = f.Advance(state, five, proof(l, 2, 5))
	if err != nil || c.Size != 5 {
		t.Fatalf("from 2 to 5: %+v, %v", c, err)
	}
	if again, _, err := f.Advance(state, five, nil); err != nil || !bytes.Equal(again, state) {
		t.Errorf("the same again: %v", err)
	}
	tests := []struct {
		name              string
		state, checkpoint []byte
		hashes            [][32]byte
		want              error
	}{
		{"rollback", state, two, nil, audit.ErrRollback},
		{"rollback with a proof", state, two, proof(l, 2, 5), audit.ErrRollback},
		{"fork of the same size", state, otherFive, nil, audit.ErrFork},
		{"fork of a larger size", state, otherSeven, proof(r, 5, 7), audit.ErrFork},
		{"no proof", state, seven, nil, audit.ErrFork},
		{"proof from elsewhere", state, seven, proof(l, 2, 7), audit.ErrFork},
		{"not a checkpoint", state, []byte("x"), nil, entry.ErrCheckpoint},
		{"state damaged", state[1:], seven, proof(l, 5, 7), entry.ErrCheckpoint},
	}
	for _, tt := range tests {
		next, c, err := f.Advance(tt.state, tt.checkpoint, tt.hashes)
		if next != nil || c != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, c, err := f.Advance(state, seven, proof(l, 5, 7)); err != nil || c.Size != 7 {
		t.Errorf("from 5 to 7: %+v, %v", c, err)
	}
	_, other, err := audit.NewSigner(origin, testKey(2))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := audit.NewFollower(other).Advance(nil, two, nil); !errors.Is(err, entry.ErrCheckpoint) {
		t.Errorf("another key: %v", err)
	}
}
