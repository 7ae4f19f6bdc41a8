package oprf_test

// Attacks on messages. Covered: each bit of a proof, elements swapped, replaced,
// missing, added, malformed or the identity, answers of another key, info,
// request or batch, an info chosen to cancel the key. Not covered here: timing,
// and what a holder does with an honest answer.

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// badElements are encodings that must be refused: RFC 9496, Appendix A.2, has
// most of them.
func badElements(t testing.TB) map[string]oprf.Element {
	b := func(s string) oprf.Element { return oprf.Element(unhex(t, s)) }
	return map[string]oprf.Element{
		"identity":        {},
		"not canonical 0": b("00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
		"not canonical 1": b("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"not canonical 2": b("f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"not canonical 3": b("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"negative":        b("0100000000000000000000000000000000000000000000000000000000000000"),
		"not square 0":    b("26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371"),
		"not square 1":    b("4eac077a713c57b4f4397629a4145982c661f48044dd3f96427d40b147d9742f"),
		"negative xy":     b("3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e"),
		"s = -1":          b("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
	}
}

type answer struct {
	evaluated []oprf.Element
	proof     oprf.Proof
}

// exchange returns a pending batch, the request, and a valid answer.
func exchange(t *testing.T, s *oprf.Server, c *oprf.Client, info string,
	inputs ...string) (*oprf.Pending, []oprf.Element, *answer) {
	t.Helper()
	var in [][]byte
	for _, s := range inputs {
		in = append(in, []byte(s))
	}
	bc := blindContext()
	bc.Info = []byte(info)
	pending, req, err := c.Blind(in, oprf.GenerateSeed(), bc)
	if err != nil {
		t.Fatal(err)
	}
	ev, proof, err := s.BlindEvaluate(req, bc.Info)
	if err != nil {
		t.Fatal(err)
	}
	return pending, req, &answer{ev, proof}
}

// TestFinalizeTampered changes a valid answer in every way. Each change must be
// rejected, and must yield no output.
func TestFinalizeTampered(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	other := oprf.NewServer(oprf.GeneratePrivateKey())
	pending, req, valid := exchange(t, server, client, "info", "a", "b", "c", "d", "e", "f", "g")
	_, _, foreign := exchange(t, server, client, "info", "a", "b", "c", "d", "e", "f", "g")

	check := func(name string, want error, tamper func(*answer)) {
		t.Helper()
		a := &answer{append([]oprf.Element(nil), valid.evaluated...), valid.proof}
		tamper(a)
		out, err := pending.Finalize(a.evaluated, a.proof)
		if !errors.Is(err, want) {
			t.Errorf("%s: Finalize error = %v, want %v", name, err, want)
		}
		if out != nil {
			t.Errorf("%s: Finalize returned %d outputs with an error", name, len(out))
		}
	}
	answerOf := func(s *oprf.Server, req []oprf.Element, info string) func(*answer) {
		return func(a *answer) {
			var err error
			if a.evaluated, a.proof, err = s.BlindEvaluate(req, []byte(info)); err != nil {
				t.Fatal(err)
			}
		}
	}
	check("no elements, not nil", oprf.ErrMessage, func(a *answer) { a.evaluated = valid.evaluated[:0] })
	for bit := range 8 * oprf.ProofSize {
		if bit%8 > 1 && bit/8%8 != 0 { // all bytes, and some bytes in full
			continue
		}
		check("proof bit", oprf.ErrVerify, func(a *answer) { a.proof[bit/8] ^= 1 << (bit % 8) })
	}
	check("zero proof", oprf.ErrVerify, func(a *answer) { a.proof = oprf.Proof{} })
	check("proof not canonical", oprf.ErrVerify, func(a *answer) { copy(a.proof[:], bytes.Repeat([]byte{0xff}, 64)) })
	check("halves swapped", oprf.ErrVerify, func(a *answer) {
		a.proof = oprf.Proof(append(append([]byte(nil), a.proof[32:]...), a.proof[:32]...))
	})
	check("swapped elements", oprf.ErrVerify, func(a *answer) { a.evaluated[0], a.evaluated[1] = a.evaluated[1], a.evaluated[0] })
	check("repeated element", oprf.ErrVerify, func(a *answer) { a.evaluated[0] = a.evaluated[1] })
	check("element of the request", oprf.ErrVerify, func(a *answer) { a.evaluated[3] = req[3] })
	check("echo of the request", oprf.ErrVerify, func(a *answer) { a.evaluated = req })
	check("other element", oprf.ErrVerify, func(a *answer) { a.evaluated[6] = foreign.evaluated[6] })
	check("other proof", oprf.ErrVerify, func(a *answer) { a.proof = foreign.proof })
	check("other request", oprf.ErrVerify, func(a *answer) { *a = *foreign })
	check("other key", oprf.ErrVerify, answerOf(other, req, "info"))
	check("other info", oprf.ErrVerify, answerOf(server, req, "info "))
	check("missing element", oprf.ErrMessage, func(a *answer) { a.evaluated = a.evaluated[:6] })
	check("added element", oprf.ErrMessage, func(a *answer) { a.evaluated = append(a.evaluated, a.evaluated[0]) })
	check("no elements", oprf.ErrMessage, func(a *answer) { a.evaluated = nil })
	for name, e := range badElements(t) {
		for _, i := range []int{0, 6} {
			check(name, oprf.ErrMessage, func(a *answer) { a.evaluated[i] = e })
		}
	}
	if _, err := pending.Finalize(valid.evaluated, valid.proof); err != nil {
		t.Errorf("the valid answer is refused: %v", err)
	}
	// The proof of one element of a batch does not carry over to it alone.
	single, _, _ := exchange(t, server, client, "info", "a")
	if out, err := single.Finalize(valid.evaluated[:1], valid.proof); !errors.Is(err, oprf.ErrVerify) || out != nil {
		t.Errorf("Finalize of a part: %v", err)
	}
}

// TestBlindEvaluateRefuses sends malformed requests.
func TestBlindEvaluateRefuses(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	_, req, _ := exchange(t, server, client, "info", "a", "b", "c")
	check := func(name string, want error, req []oprf.Element, info []byte) {
		t.Helper()
		ev, proof, err := server.BlindEvaluate(req, info)
		if !errors.Is(err, want) {
			t.Errorf("%s: error = %v, want %v", name, err, want)
		}
		if ev != nil || proof != (oprf.Proof{}) {
			t.Errorf("%s: results with an error", name)
		}
	}
	for name, e := range badElements(t) {
		for i := range req {
			bad := append([]oprf.Element(nil), req...)
			bad[i] = e
			check(name, oprf.ErrMessage, bad, []byte("info"))
		}
	}
	check("nil", oprf.ErrMessage, nil, []byte("info"))
	check("empty", oprf.ErrMessage, []oprf.Element{}, []byte("info"))
	big := make([]oprf.Element, oprf.MaxBatch+1)
	for i := range big {
		big[i] = req[0]
	}
	check("too many", oprf.ErrMessage, big, []byte("info"))
	check("no info", oprf.ErrInput, req, nil)
	check("long info", oprf.ErrInput, req, make([]byte, oprf.MaxInfoSize+1))
}

// TestInverse uses the one info for which the tweaked key is zero.
func TestInverse(t *testing.T) {
	t.Parallel()
	info := []byte("chosen by someone who knows the key")
	framed := append([]byte{'I', 'n', 'f', 'o', 0, byte(len(info))}, info...)
	m := group.Ristretto255.HashToScalar(framed, []byte("HashToScalar-OPRFV1-\x02-ristretto255-SHA512"))
	skS, err := group.Ristretto255.NewScalar().Neg(m).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	key, err := oprf.ParsePrivateKey(skS)
	if err != nil {
		t.Fatal(err)
	}
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	_, req, _ := exchange(t, server, client, "info", "a")
	if ev, _, err := server.BlindEvaluate(req, info); !errors.Is(err, oprf.ErrInverse) || ev != nil {
		t.Errorf("BlindEvaluate error = %v, want %v", err, oprf.ErrInverse)
	}
	if out, err := server.Evaluate([]byte("a"), info); !errors.Is(err, oprf.ErrInverse) || out != (oprf.Output{}) {
		t.Errorf("Evaluate error = %v, want %v", err, oprf.ErrInverse)
	}
	bc := blindContext()
	bc.Info = info
	if p, _, err := client.Blind([][]byte{{1}}, oprf.GenerateSeed(), bc); !errors.Is(err, oprf.ErrInput) || p != nil {
		t.Errorf("Blind error = %v, want %v", err, oprf.ErrInput)
	}
}

// TestInputLimits checks the limits of everything that a caller passes.
func TestInputLimits(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	one := [][]byte{{1}}
	tests := []struct {
		name   string
		inputs [][]byte
		seed   oprf.Seed
		change func(*oprf.BlindContext)
	}{
		{"no inputs", nil, oprf.GenerateSeed(), nil},
		{"too many inputs", make([][]byte, oprf.MaxBatch+1), oprf.GenerateSeed(), nil},
		{"empty input", [][]byte{{1}, {}}, oprf.GenerateSeed(), nil},
		{"long input", [][]byte{make([]byte, oprf.MaxInputSize+1)}, oprf.GenerateSeed(), nil},
		{"no seed", one, oprf.Seed{}, nil},
		{"no holder", one, oprf.GenerateSeed(), func(c *oprf.BlindContext) { c.Holder = "" }},
		{"long holder", one, oprf.GenerateSeed(), func(c *oprf.BlindContext) { c.Holder = string(make([]byte, 256)) }},
		{"no info", one, oprf.GenerateSeed(), func(c *oprf.BlindContext) { c.Info = nil }},
		{"long info", one, oprf.GenerateSeed(), func(c *oprf.BlindContext) { c.Info = make([]byte, oprf.MaxInfoSize+1) }},
	}
	for _, tt := range tests {
		bc := blindContext()
		if tt.change != nil {
			tt.change(&bc)
		}
		p, els, err := client.Blind(tt.inputs, tt.seed, bc)
		if !errors.Is(err, oprf.ErrInput) || p != nil || els != nil {
			t.Errorf("%s: Blind error = %v, want %v", tt.name, err, oprf.ErrInput)
		}
		if els, err := oprf.Recompute(tt.inputs, tt.seed, bc); !errors.Is(err, oprf.ErrInput) || els != nil {
			t.Errorf("%s: Recompute error = %v, want %v", tt.name, err, oprf.ErrInput)
		}
	}
	for _, n := range []int{0, oprf.MaxInputSize + 1} {
		if out, err := server.Evaluate(make([]byte, n), []byte("i")); !errors.Is(err, oprf.ErrInput) || out != (oprf.Output{}) {
			t.Errorf("Evaluate of %d bytes: %v", n, err)
		}
	}
	for _, n := range []int{0, oprf.MaxInfoSize + 1} {
		if out, err := server.Evaluate([]byte("x"), make([]byte, n)); !errors.Is(err, oprf.ErrInput) || out != (oprf.Output{}) {
			t.Errorf("Evaluate with an info of %d bytes: %v", n, err)
		}
	}
	bc := blindContext()
	bc.Holder, bc.Info = string(make([]byte, oprf.MaxHolderSize)), make([]byte, oprf.MaxInfoSize)
	if _, _, err := client.Blind([][]byte{make([]byte, oprf.MaxInputSize)}, oprf.GenerateSeed(), bc); err != nil {
		t.Errorf("the largest input is refused: %v", err)
	}
}

// FuzzBlindEvaluate checks that no bytes of a peer make a server panic, and that
// what it answers can be finalized by nobody who did not blind it.
func FuzzBlindEvaluate(f *testing.F) {
	key, err := oprf.ParsePrivateKey(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		f.Fatal(err)
	}
	server, client := oprf.NewServer(key), newClient(f, key.PublicKey())
	pending, req, err := client.Blind([][]byte{{1}}, oprf.GenerateSeed(), blindContext())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(req[0][:], make([]byte, oprf.ProofSize))
	for _, e := range badElements(f) {
		f.Add(e[:], make([]byte, oprf.ProofSize))
	}
	f.Fuzz(func(t *testing.T, element, proof []byte) {
		var e oprf.Element
		var p oprf.Proof
		copy(e[:], element)
		copy(p[:], proof)
		ev, _, err := server.BlindEvaluate([]oprf.Element{e}, []byte("info"))
		if (err == nil) != (len(ev) == 1) {
			t.Errorf("%d elements, error %v", len(ev), err)
		}
		out, err := pending.Finalize([]oprf.Element{e}, p)
		if err == nil || out != nil {
			t.Error("a made-up answer is accepted")
		}
	})
}
