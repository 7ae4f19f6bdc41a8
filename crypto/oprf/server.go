package oprf

import (
	"sync"

	"github.com/gtank/ristretto255"
)

// A Server evaluates with one private key.
type Server struct {
	key PrivateKey

	mu     sync.RWMutex
	tweaks map[string]*tweak // by info, guarded by mu; at most maxTweaks
}

// maxTweaks is how many tweaked keys a Server keeps. It uses one for each asker
// and key class. Each takes some hundred bytes and its info.
const maxTweaks = 256

// A tweak is a private key tweaked for one info.
type tweak struct {
	// secret returns t and 1/t. It is a function for the reasons given at
	// PrivateKey.
	secret func() (t, inverse *ristretto255.Scalar)

	public Element // t*G
}

// NewServer returns a Server for k. It panics if k is the zero PrivateKey.
func NewServer(k PrivateKey) *Server {
	if k.k == nil {
		panic("oprf: internal error: NewServer without a key")
	}
	return &Server{key: k, tweaks: make(map[string]*tweak)}
}

// PublicKey returns pkS.
func (s *Server) PublicKey() PublicKey { return s.key.PublicKey() }

// tweak returns the key for info.
func (s *Server) tweak(info []byte) (*tweak, error) {
	if err := checkInfo(info); err != nil {
		return nil, err
	}
	s.mu.RLock()
	tw := s.tweaks[string(info)]
	s.mu.RUnlock()
	if tw != nil {
		return tw, nil
	}
	// t = skS + m; if t == 0: raise InverseError
	skS, _ := s.key.k()
	t := ristretto255.NewScalar().Add(skS, infoScalar(info))
	if isZero(t) {
		return nil, ErrInverse
	}
	inv := ristretto255.NewScalar().Invert(t)
	tw = &tweak{
		secret: func() (*ristretto255.Scalar, *ristretto255.Scalar) { return t, inv },
		public: encode(ristretto255.NewIdentityElement().ScalarBaseMult(t)),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tweaks) >= maxTweaks {
		for other := range s.tweaks { // any one
			delete(s.tweaks, other)
			break
		}
	}
	s.tweaks[string(info)] = tw
	return tw, nil
}

// BlindEvaluate evaluates req under info without learning the inputs, and returns
// one element for each, in the same order, with a proof for all. req is not
// modified.
//
// It returns an error wrapping [ErrMessage] if req holds no element, more than
// MaxBatch elements, or an element that is not canonical or is the identity;
// [ErrInput] if info is empty or longer than MaxInfoSize; and [ErrInverse], which
// see.
//
// BlindEvaluate does not limit how often it is called. Callers must, because
// every call helps to attack the key (RFC 9497, Section 7.2.3) and lets the
// client test one guess per element. Two calls give different proofs, so callers
// that promise the same answer twice must keep it.
//
// BlindEvaluate implements BlindEvaluate, RFC 9497, Section 3.3.3.
func (s *Server) BlindEvaluate(req []Element, info []byte) ([]Element, Proof, error) {
	return s.blindEvaluate(req, info, (*statement).freshNonce)
}

// blindEvaluate is BlindEvaluate with the nonce that nonce returns.
func (s *Server) blindEvaluate(req []Element, info []byte,
	nonce func(st *statement, skS, t *ristretto255.Scalar) *ristretto255.Scalar) ([]Element, Proof, error) {
	blinded, err := decodeAll(req)
	if err != nil {
		return nil, Proof{}, err
	}
	tw, err := s.tweak(info)
	if err != nil {
		return nil, Proof{}, err
	}
	t, inv := tw.secret()
	evaluated := make([]ristretto255.Element, len(blinded))
	out := make([]Element, len(blinded))
	parallel(len(blinded), 2, func(i int) {
		// evaluatedElement = G.ScalarInverse(t) * blindedElement
		out[i] = encode(evaluated[i].ScalarMult(inv, &blinded[i]))
	})
	skS, _ := s.key.k()
	st := &statement{a: tw.public, c: evaluated, d: blinded, cEn: out, dEn: req}
	return out, st.prove(t, nonce(st, skS, t)), nil
}

// Evaluate returns the PRF output of input, 1 to MaxInputSize bytes, under info,
// 1 to MaxInfoSize bytes. It is for building sets. The first call with an info
// takes longer, as does one with more than some hundred others before it.
//
// It returns an error wrapping [ErrInput] for anything outside the limits, and
// [ErrInverse], which see.
//
// Evaluate implements Evaluate, RFC 9497, Section 3.3.3.
func (s *Server) Evaluate(input, info []byte) (Output, error) {
	if err := checkInput(input); err != nil {
		return Output{}, err
	}
	tw, err := s.tweak(info)
	if err != nil {
		return Output{}, err
	}
	_, inv := tw.secret()
	var e ristretto255.Element
	hashToGroup(&e, input)
	if isIdentity(&e) {
		return Output{}, ErrInput
	}
	return finalize(input, info, encode(e.ScalarMult(inv, &e))), nil
}
