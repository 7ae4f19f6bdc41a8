package oprf_test

import (
	"fmt"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// A client learns the output for its input; the server learns neither.
func Example() {
	key := oprf.GeneratePrivateKey()
	server := oprf.NewServer(key)
	info := []byte("what both sides know")

	client, err := oprf.NewClient(server.PublicKey())
	if err != nil {
		panic(err)
	}
	context := oprf.BlindContext{QueryID: [16]byte{1}, Holder: "b.example", Info: info}
	pending, request, err := client.Blind([][]byte{[]byte("input"), nil}, oprf.GenerateSeed(), context)
	if err != nil {
		panic(err)
	}

	evaluated, proof, err := server.BlindEvaluate(request, info)
	if err != nil {
		panic(err)
	}

	outputs, err := pending.Finalize(evaluated, proof)
	if err != nil {
		panic(err)
	}
	want, err := server.Evaluate([]byte("input"), info)
	fmt.Println(outputs[0] == want, err)
	fmt.Println("dummy is zero:", outputs[1] == oprf.Output{})
	// Output:
	// true <nil>
	// dummy is zero: true
}
