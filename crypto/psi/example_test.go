package psi_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
)

// The holder builds and signs a set; the asker checks, opens and searches it.
func Example() {
	// The holder.
	server := oprf.NewServer(oprf.GeneratePrivateKey())
	info := psi.Info{Protocol: 1, Holder: "b.example", Asker: "a.example", Collection: "documents", Class: "doc",
		Normalisation: 1, Epoch: 1}
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	built, err := psi.Build(context.Background(), server, psi.Params{
		Info: info, PublicKey: server.PublicKey(), Version: 1, Created: created, NotAfter: created.Add(24 * time.Hour),
	}, []psi.Record{
		{Key: []byte("P|UTO|L898902C3"), Label: psi.Label{Handle: psi.Handle{1}, Weight: 1000}},
	})
	if err != nil {
		panic(err)
	}
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	signed, err := built.Manifest().Sign(signer)
	if err != nil {
		panic(err)
	}

	// The asker.
	checked, err := psi.CheckManifest(signed.Bytes(), public)
	if err != nil {
		panic(err)
	}
	if err := psi.CheckSuccessor(nil, &checked.Manifest); err != nil {
		panic(err)
	}
	if err := checked.Manifest.CheckAge(created.Add(time.Hour), 2*time.Hour); err != nil {
		panic(err)
	}
	set, err := psi.OpenSet(&checked.Manifest, built.Segments())
	if err != nil {
		panic(err)
	}

	// In a lookup the asker gets the output through the blind evaluation of
	// package oprf; here the server computes it.
	output, err := server.Evaluate([]byte("P|UTO|L898902C3"), info.Bytes())
	if err != nil {
		panic(err)
	}
	for _, label := range set.Lookup(output) {
		fmt.Println("handle", label.Handle, "weight", label.Weight)
	}
	fmt.Println(set.Len(), "tags")
	// Output:
	// handle [1 0 0 0 0 0 0 0] weight 1000
	// 1024 tags
}
