// Package proto holds the text of the protocol. The messages are in
// passerelle/v1 below it.
package proto

import _ "embed"

// Spec is proto/SPEC.md: the protocol, with every byte that is hashed or signed.
//
//go:embed SPEC.md
var Spec string
