package oprf_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/passerelle/passerelle/crypto/oprf"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhexAll(t testing.TB, s string) [][]byte {
	t.Helper()
	var out [][]byte
	for part := range strings.SplitSeq(s, ",") {
		out = append(out, unhex(t, part))
	}
	return out
}

func elements(in [][]byte) []oprf.Element {
	out := make([]oprf.Element, len(in))
	for i, b := range in {
		out[i] = oprf.Element(b)
	}
	return out
}

func newClient(t testing.TB, pk oprf.PublicKey) *oprf.Client {
	t.Helper()
	c, err := oprf.NewClient(pk)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func blindContext() oprf.BlindContext {
	return oprf.BlindContext{QueryID: [16]byte{1, 2, 3}, Holder: "b.example", Info: []byte("info"), Chunk: 0}
}

// TestVectors runs the vectors of RFC 9497, Appendix A.1.3, in every role.
func TestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/rfc9497.json")
	if err != nil {
		t.Fatal(err)
	}
	var suites []struct {
		Mode       int
		Identifier string
		PkSm, SkSm string
		Vectors    []struct {
			Batch                                                         int
			Blind, BlindedElement, EvaluationElement, Info, Input, Output string
			Proof                                                         struct{ Proof, R string }
		}
	}
	if err := json.Unmarshal(data, &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites) != 1 || suites[0].Mode != 2 || len(suites[0].Vectors) != 3 {
		t.Fatal("not the expected vectors")
	}
	s := suites[0]
	key, err := oprf.ParsePrivateKey(unhex(t, s.SkSm))
	if err != nil {
		t.Fatal(err)
	}
	if got := key.PublicKey(); hex.EncodeToString(got[:]) != s.PkSm {
		t.Fatalf("public key = %x, want %s", got, s.PkSm)
	}
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	for i, v := range s.Vectors {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inputs, info := unhexAll(t, v.Input), unhex(t, v.Info)
			pending, req, err := oprf.BlindWith(client, inputs, unhexAll(t, v.Blind), info)
			if err != nil {
				t.Fatal(err)
			}
			if want := elements(unhexAll(t, v.BlindedElement)); fmt.Sprint(req) != fmt.Sprint(want) {
				t.Errorf("blinded %x, want %x", req, want)
			}
			evaluated, proof, err := oprf.BlindEvaluateWith(server, req, info, unhex(t, v.Proof.R))
			if err != nil {
				t.Fatal(err)
			}
			if want := elements(unhexAll(t, v.EvaluationElement)); fmt.Sprint(evaluated) != fmt.Sprint(want) {
				t.Errorf("evaluated %x, want %x", evaluated, want)
			}
			if got := hex.EncodeToString(proof[:]); got != v.Proof.Proof {
				t.Errorf("proof %s, want %s", got, v.Proof.Proof)
			}
			outputs, err := pending.Finalize(evaluated, proof)
			if err != nil {
				t.Fatal(err)
			}
			if len(outputs) != v.Batch {
				t.Fatalf("%d outputs, want %d", len(outputs), v.Batch)
			}
			for j, want := range unhexAll(t, v.Output) {
				if !bytes.Equal(outputs[j][:], want) {
					t.Errorf("output %d = %x, want %x", j, outputs[j], want)
				}
				got, err := server.Evaluate(inputs[j], info)
				if err != nil || !bytes.Equal(got[:], want) {
					t.Errorf("Evaluate %d = %x, %v, want %x", j, got, err, want)
				}
			}
		})
	}
}

func inputsOf(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = fmt.Appendf(nil, "input %d", i)
	}
	return out
}

// TestBatchSizes runs every kind of batch, with dummies in it.
func TestBatchSizes(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	bc := blindContext()
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 16, 64, oprf.MaxBatch} {
		inputs := inputsOf(n)
		for i := range inputs {
			if i%3 == 2 {
				inputs[i] = nil
			}
		}
		pending, req, err := client.Blind(inputs, oprf.GenerateSeed(), bc)
		if err != nil {
			t.Fatal(err)
		}
		evaluated, proof, err := server.BlindEvaluate(req, bc.Info)
		if err != nil {
			t.Fatal(err)
		}
		outputs, err := pending.Finalize(evaluated, proof)
		if err != nil || len(outputs) != n {
			t.Fatalf("batch %d: %d outputs, %v", n, len(outputs), err)
		}
		for i, in := range inputs {
			var want oprf.Output
			if in != nil {
				want, err = server.Evaluate(in, bc.Info)
			}
			if err != nil || outputs[i] != want {
				t.Errorf("batch %d: output %d differs (%v)", n, i, err)
			}
		}
	}
}

// TestOutputsDepend checks that outputs depend on key, info and input.
func TestOutputsDepend(t *testing.T) {
	t.Parallel()
	a, b := oprf.NewServer(oprf.GeneratePrivateKey()), oprf.NewServer(oprf.GeneratePrivateKey())
	seen := map[oprf.Output]bool{}
	for _, s := range []*oprf.Server{a, b} {
		for _, info := range []string{"i", "j", "i"} {
			for _, in := range []string{"x", "y"} {
				out, err := s.Evaluate([]byte(in), []byte(info))
				if err != nil {
					t.Fatal(err)
				}
				seen[out] = true
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d different outputs, want 8", len(seen))
	}
}

// TestManyInfos checks that a server that has seen more infos than it keeps tweaked
// keys for answers under each as one that has seen none.
func TestManyInfos(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	used := oprf.NewServer(key)
	info := func(i int) []byte { return fmt.Appendf(nil, "info %d", i) }
	for i := range oprf.MaxTweaks + 10 {
		if _, err := used.Evaluate([]byte("x"), info(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := oprf.Tweaks(used); n != oprf.MaxTweaks {
		t.Errorf("%d tweaked keys are kept, want %d", n, oprf.MaxTweaks)
	}
	for i := 0; i < oprf.MaxTweaks+10; i += 13 {
		got, err := used.Evaluate([]byte("y"), info(i))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := oprf.NewServer(key).Evaluate([]byte("y"), info(i)); err != nil || got != want {
			t.Errorf("output under info %d differs (%v)", i, err)
		}
	}
	if n := oprf.Tweaks(used); n != oprf.MaxTweaks {
		t.Errorf("%d tweaked keys are kept, want %d", n, oprf.MaxTweaks)
	}
}

// TestRecompute checks that the elements are a function of inputs, seed and
// context, so that an auditor can explain a request byte for byte, dummies
// included; and that they show nothing common under another context.
func TestRecompute(t *testing.T) {
	t.Parallel()
	client := newClient(t, oprf.GeneratePrivateKey().PublicKey())
	inputs := append(inputsOf(20), nil, nil, []byte("input 0"))
	seed := oprf.GenerateSeed()
	_, first, err := client.Blind(inputs, seed, blindContext())
	if err != nil {
		t.Fatal(err)
	}
	again, err := oprf.ParseSeed(seed.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	second, err := oprf.Recompute(inputs, again, blindContext())
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(first) != fmt.Sprint(second) {
		t.Error("recomputed elements differ")
	}

	seen := map[oprf.Element]bool{}
	add := func(els []oprf.Element) {
		for _, e := range els {
			if seen[e] {
				t.Error("an element occurs twice")
			}
			seen[e] = true
		}
	}
	add(first)
	for name, change := range map[string]func(*oprf.BlindContext){
		"query":  func(c *oprf.BlindContext) { c.QueryID[15]++ },
		"holder": func(c *oprf.BlindContext) { c.Holder = "c.example" },
		"info":   func(c *oprf.BlindContext) { c.Info = []byte("other") },
		"chunk":  func(c *oprf.BlindContext) { c.Chunk++ },
		"shift":  func(c *oprf.BlindContext) { c.Holder, c.Info = "b.examplei", []byte("nfo") },
	} {
		bc := blindContext()
		change(&bc)
		els, err := oprf.Recompute(inputs, seed, bc)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		add(els)
	}
	els, err := oprf.Recompute(inputs, oprf.GenerateSeed(), blindContext())
	if err != nil {
		t.Fatal(err)
	}
	add(els)
}

// TestBlindDerivation holds the blinds to the formula of the package comment,
// computed here with other code.
func TestBlindDerivation(t *testing.T) {
	t.Parallel()
	seed := oprf.GenerateSeed()
	bc := oprf.BlindContext{QueryID: [16]byte{9}, Holder: "holder.example", Info: []byte("the info"), Chunk: 7}
	prk, err := hkdf.Extract(sha512.New, seed.Bytes(), []byte("passerelle/oprf/v1"))
	if err != nil {
		t.Fatal(err)
	}
	for index := range uint32(20) {
		ctx := "\x05blind" + string(bc.QueryID[:]) + "\x00\x0eholder.example" + "\x00\x08the info" + "\x00\x00\x00\x07" +
			string(binary.BigEndian.AppendUint32(nil, index)) + "\x00"
		wide, err := hkdf.Expand(sha512.New, prk, ctx, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := bigReduce(wide)
		if got := oprf.DeriveBlind(seed, bc, index); !bytes.Equal(got, want) {
			t.Errorf("blind %d = %x, want %x", index, got, want)
		}
	}
	if got := oprf.FirstNonZero(3); got != 3 {
		t.Errorf("after three zeros the counter is %d, want 3", got)
	}
}

// bigReduce reduces a little-endian number modulo the group order.
func bigReduce(le []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	be := bytes.Clone(le)
	reverse(be)
	n := new(big.Int).SetBytes(be)
	out := n.Mod(n, order).FillBytes(make([]byte, 32))
	reverse(out)
	return out
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

func TestReduce(t *testing.T) {
	t.Parallel()
	for i := range 200 {
		var b [64]byte
		rand.Read(b[:])
		switch i {
		case 0:
			clear(b[:])
		case 1:
			for j := range b {
				b[j] = 0xff
			}
		}
		if got, want := oprf.Reduce(&b), bigReduce(b[:]); !bytes.Equal(got[:], want) {
			t.Errorf("reduce(%x) = %x, want %x", b, got, want)
		}
	}
}

// TestSumsOfProducts compares with circl, which adds one product after another.
func TestSumsOfProducts(t *testing.T) {
	t.Parallel()
	r := group.Ristretto255
	for _, n := range []int{0, 1, 2, 5, 64, 65, 159, 160, 300, oprf.MaxBatch} {
		want := [2]group.Element{r.Identity(), r.Identity()}
		scalars := make([][32]byte, n)
		var lists [2][]oprf.Element
		for i := range n {
			s := r.RandomScalar(rand.Reader)
			switch {
			case i == 0 && n > 1:
				s = r.NewScalar()
			case i == 1:
				s = r.NewScalar().Neg(r.NewScalar().SetUint64(1))
			}
			b, err := s.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			scalars[i] = [32]byte(b)
			for j := range lists {
				e := r.RandomElement(rand.Reader)
				if i == 3 {
					e = r.Identity()
				}
				lists[j] = append(lists[j], encodeCircl(t, e))
				want[j].Add(want[j], r.NewElement().Mul(e, s))
			}
		}
		got := oprf.SumsOfProducts(scalars, lists[0], lists[1])
		for j := range want {
			if got[j] != encodeCircl(t, want[j]) {
				t.Errorf("sum %d of %d products is wrong", j, n)
			}
		}
		if one := oprf.SumsOfProducts(scalars, lists[1]); one[0] != got[1] {
			t.Errorf("a list of %d has another sum alone", n)
		}
	}
}

// TestNonce checks both halves of the hedge: with a random source that is stuck,
// nonces still differ between transcripts and keys, and equal requests get equal
// proofs; with a good one, equal requests get different proofs.
func TestNonce(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, other := oprf.NewServer(key), oprf.NewServer(oprf.GeneratePrivateKey())
	req1, err := oprf.Recompute(inputsOf(3), oprf.GenerateSeed(), blindContext())
	if err != nil {
		t.Fatal(err)
	}
	req2 := []oprf.Element{req1[0], req1[2], req1[1]}
	seen := map[[32]byte]bool{}
	for _, c := range []struct {
		s    *oprf.Server
		req  []oprf.Element
		info string
	}{{server, req1, "i"}, {server, req2, "i"}, {server, req1, "j"}, {server, req1[:2], "i"}, {other, req1, "i"}} {
		nonce, proof, err := oprf.BlindEvaluateStuck(c.s, c.req, []byte(c.info))
		if err != nil {
			t.Fatal(err)
		}
		again, proof2, err := oprf.BlindEvaluateStuck(c.s, c.req, []byte(c.info))
		if err != nil || again != nonce || proof2 != proof {
			t.Errorf("equal transcripts with equal bytes give different nonces (%v)", err)
		}
		if seen[nonce] {
			t.Error("one nonce for two transcripts")
		}
		seen[nonce] = true
	}
	_, p1, _ := server.BlindEvaluate(req1, []byte("i"))
	_, p2, _ := server.BlindEvaluate(req1, []byte("i"))
	if p1 == p2 {
		t.Error("two proofs with fresh bytes are equal")
	}
}

// TestParallel is for the race detector: everything is shared from first use on.
func TestParallel(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	pending, req, err := client.Blind(inputsOf(9), oprf.GenerateSeed(), blindContext())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			evaluated, proof, err := server.BlindEvaluate(req, []byte("info"))
			if err != nil {
				t.Error(err)
				return
			}
			out, err := pending.Finalize(evaluated, proof)
			if err != nil {
				t.Error(err)
				return
			}
			if want, err := server.Evaluate([]byte("input 0"), []byte("info")); err != nil || out[0] != want {
				t.Errorf("outputs differ (%v)", err)
			}
			if _, err := server.Evaluate([]byte("x"), fmt.Appendf(nil, "info %d", i%3)); err != nil {
				t.Error(err)
			}
			if pk := server.PublicKey(); pk != key.PublicKey() {
				t.Error("public key changed")
			}
		})
	}
	wg.Wait()
}

// TestUnprintable prints every secret, and structs that hold it, in every way.
func TestUnprintable(t *testing.T) {
	t.Parallel()
	key, seed := oprf.GeneratePrivateKey(), oprf.GenerateSeed()
	server, client := oprf.NewServer(key), newClient(t, key.PublicKey())
	if _, err := server.Evaluate([]byte("x"), []byte("info")); err != nil {
		t.Fatal(err)
	}
	pending, _, err := client.Blind([][]byte{[]byte("SECRETINPUT")}, seed, blindContext())
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		K  oprf.PrivateKey
		S  oprf.Seed
		P  *oprf.Pending
		V  *oprf.Server
		k  oprf.PrivateKey
		s  oprf.Seed
		p  *oprf.Pending
		v  *oprf.Server
		pp oprf.Pending
	}
	h := holder{key, seed, pending, server, key, seed, pending, server, *pending}
	values := []any{key, &key, seed, &seed, pending, *pending, server, h, &h,
		[]oprf.PrivateKey{key}, map[string]oprf.Seed{"a": seed}}
	var text strings.Builder
	for _, v := range values {
		for _, verb := range "vTtbcdoOqxXUeEfFgGspw" {
			for _, flag := range []string{"", "+", "#", " ", "-", "0"} {
				fmt.Fprintf(&text, "%"+flag+string(verb)+"\n", v)
			}
		}
		fmt.Fprintln(&text, v)
		if b, err := json.Marshal(v); err == nil {
			text.Write(b)
		}
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&text, nil)).Info("m", "v", v)
	}
	got := text.String()
	blind := oprf.DeriveBlind(seed, blindContext(), 0)
	for _, secret := range [][]byte{key.Bytes(), seed.Bytes(), blind, []byte("SECRETINPUT")} {
		be := bytes.Clone(secret)
		reverse(be)
		for _, b := range [][]byte{secret, be} {
			for _, form := range []string{"%x", "%X", "%d", "%v", "%s", "%q", "%o", "%b", "%#v", "% x"} {
				s := strings.Trim(fmt.Sprintf(form, b), "[]\"")
				if strings.Contains(got, s) {
					t.Errorf("a secret is printed with %s", form)
				}
			}
		}
	}
	if !strings.Contains(got, key.KeyID()) {
		t.Error("the key ID is not printed")
	}
	if id := key.KeyID(); len(id) != 16 || id != key.PublicKey().KeyID() {
		t.Errorf("KeyID = %q", id)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	key := oprf.GeneratePrivateKey()
	again, err := oprf.ParsePrivateKey(key.Bytes())
	if err != nil || again.PublicKey() != key.PublicKey() {
		t.Errorf("private key does not survive: %v", err)
	}
	pk := key.PublicKey()
	if got, err := oprf.ParsePublicKey(pk[:]); err != nil || got != pk {
		t.Errorf("public key does not survive: %v", err)
	}
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	for _, b := range [][]byte{nil, make([]byte, 31), make([]byte, 33), make([]byte, 32), order, bytes.Repeat([]byte{0xff}, 32)} {
		if k, err := oprf.ParsePrivateKey(b); !errors.Is(err, oprf.ErrKey) || k.KeyID() != "" {
			t.Errorf("ParsePrivateKey(%x) error = %v", b, err)
		}
	}
	for name, b := range badElements(t) {
		if got, err := oprf.ParsePublicKey(b[:]); !errors.Is(err, oprf.ErrKey) || got != (oprf.PublicKey{}) {
			t.Errorf("ParsePublicKey of %s: %v", name, err)
		}
		if c, err := oprf.NewClient(oprf.PublicKey(b)); !errors.Is(err, oprf.ErrKey) || c != nil {
			t.Errorf("NewClient of %s: %v", name, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := oprf.ParsePublicKey(make([]byte, n)); !errors.Is(err, oprf.ErrKey) {
			t.Errorf("ParsePublicKey of %d bytes: %v", n, err)
		}
		if s, err := oprf.ParseSeed(make([]byte, n)); !errors.Is(err, oprf.ErrKey) || s.Bytes() != nil {
			t.Errorf("ParseSeed of %d bytes: %v", n, err)
		}
	}
}

func TestMeasureUnits(t *testing.T) {
	t.Parallel()
	hash, mul, encoding := oprf.MeasureUnits(3)
	if hash <= 0 || mul <= 0 || encoding <= 0 {
		t.Errorf("MeasureUnits = %v, %v, %v", hash, mul, encoding)
	}
}
