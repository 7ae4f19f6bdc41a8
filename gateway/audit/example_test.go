package audit_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"os"

	"github.com/passerelle/passerelle/gateway/audit"
	"github.com/passerelle/passerelle/gateway/audit/entry"
)

// A holder records its decision before it answers, and can prove it later.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "audit")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	signer, verifier, err := audit.NewSigner("gw.qvarnia.example/log/shared", key)
	if err != nil {
		panic(err)
	}
	l, err := audit.Open(ctx, audit.Config{Dir: dir, Origin: signer.Name(), Signer: signer, Verifier: verifier, Interval: audit.MinInterval})
	if err != nil {
		panic(err)
	}
	defer l.Close(ctx)

	position, err := l.Append(ctx, &entry.Entry{
		Kind: entry.KindDecision, Time: 1795348800000, Query: [16]byte{0x01, 0x9a}, Direction: entry.DirectionAnswered,
		Asker: "spiffe://gw.utopia.example/gateway/main", Holder: "spiffe://gw.qvarnia.example/gateway/main",
		Decision: entry.DecisionDenied, Reason: "POLICY_DENIED",
	})
	if err != nil {
		panic(err) // and do not answer
	}
	if err := l.Await(ctx, position.Index); err != nil {
		panic(err)
	}
	proof, err := l.ProveInclusion(ctx, position.Index)
	if err != nil {
		panic(err)
	}
	index, checkpoint, err := entry.CheckLeafProof(position.Leaf, proof, verifier)
	fmt.Println(index, checkpoint.Size, err)
	// Output: 0 1 <nil>
}
