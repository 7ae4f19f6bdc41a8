package asker

import (
	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
)

// Lookup searches one class of a list.
func (c *ClassSet) Lookup(out oprf.Output) []psi.Label { return c.appendLookup(nil, &out) }
