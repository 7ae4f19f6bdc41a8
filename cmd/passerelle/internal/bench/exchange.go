package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/gateway/query"
)

// Units are what one operation of the library in use costs, on one thread.
type Units struct {
	Mul    time.Duration // one element by one scalar
	Encode time.Duration // one element to bytes
	Hash   time.Duration // one input to the group
}

// MeasureUnits measures all units.
func MeasureUnits() Units {
	hash, mul, encode := oprf.MeasureUnits(200)
	return Units{Mul: mul, Encode: encode, Hash: hash}
}

// An Exchange is what one item costs in a batched request, where an item is one
// lookup key and so one element: an average over the batches, on all cores.
type Exchange struct {
	Evaluate time.Duration // holder: decode, multiply, encode, and the proof
	Verify   time.Duration // asker: hash, blind, encode; check the proof; unblind, hash

	// EvaluateCPU and VerifyCPU are the same in processor time, which does not
	// depend on the cores and hardly on what else runs.
	EvaluateCPU, VerifyCPU time.Duration
}

// MeasureExchange measures the exchange of a request of items items, of four key
// classes with a batch of at most [query.MaxChunk] elements each, as the two sides
// compute it. It returns the median of rounds of each part.
func MeasureExchange(items, rounds int) (Exchange, error) {
	if items < 1 || rounds < 1 {
		return Exchange{}, errors.New("bench: nothing to exchange")
	}
	const classes = 4
	server := oprf.NewServer(oprf.GeneratePrivateKey())
	client, err := oprf.NewClient(server.PublicKey())
	if err != nil {
		return Exchange{}, fmt.Errorf("bench: exchange: %w", err)
	}
	var evaluate, verify, evaluateCPU, verifyCPU Samples
	for round := range rounds {
		var e Exchange
		for class := range classes {
			share := items/classes + btoi(class < items%classes)
			for chunk := 0; chunk*query.MaxChunk < share; chunk++ {
				inputs := make([][]byte, min(share-chunk*query.MaxChunk, query.MaxChunk))
				for i := range inputs {
					inputs[i] = fmt.Appendf(nil, "bench %d/%d/%d/%d, as long as a key of a name", round, class, chunk, i)
				}
				if err := e.add(client, server, inputs, fmt.Appendf(nil, "bench class %d", class)); err != nil {
					return Exchange{}, fmt.Errorf("bench: exchange: %w", err)
				}
			}
		}
		n := time.Duration(items)
		evaluate, verify = append(evaluate, e.Evaluate/n), append(verify, e.Verify/n)
		evaluateCPU, verifyCPU = append(evaluateCPU, e.EvaluateCPU/n), append(verifyCPU, e.VerifyCPU/n)
	}
	return Exchange{Evaluate: evaluate.Median(), Verify: verify.Median(), EvaluateCPU: evaluateCPU.Median(),
		VerifyCPU: verifyCPU.Median()}, nil
}

// add adds what one batch costs.
func (e *Exchange) add(client *oprf.Client, server *oprf.Server, inputs [][]byte, info []byte) error {
	part := func(wall, cpu *time.Duration, f func() error) error {
		began, used := time.Now(), CPUTime()
		err := f()
		*wall += time.Since(began)
		*cpu += CPUTime() - used
		return err
	}
	var pending *oprf.Pending
	var elements, evaluated []oprf.Element
	var proof oprf.Proof
	if err := part(&e.Verify, &e.VerifyCPU, func() (err error) {
		pending, elements, err = client.Blind(inputs, oprf.GenerateSeed(), oprf.BlindContext{Holder: "bench.example", Info: info})
		return err
	}); err != nil {
		return err
	}
	if err := part(&e.Evaluate, &e.EvaluateCPU, func() (err error) {
		evaluated, proof, err = server.BlindEvaluate(elements, info)
		return err
	}); err != nil {
		return err
	}
	return part(&e.Verify, &e.VerifyCPU, func() error {
		_, err := pending.Finalize(evaluated, proof)
		return err
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
