// Package help holds the manuals of passerelle: Markdown, in plain English, one
// for each of the people who use a gateway.
//
//	operator   install a gateway, load lists, federate
//	legal      agreements and rules
//	auditor    inspect the logs
//	runbook    what to do when something is wrong
//	wire       the protocol (proto/SPEC.md)
//	config     every field of the configuration, generated from gateway.Config
//
// Out of scope: the help of single commands, which cobra makes.
package help

import (
	"embed"
	"io/fs"

	"github.com/passerelle/passerelle/proto"
)

//go:generate go run ./generate

//go:embed *.md
var manuals embed.FS

// A Topic is one manual.
type Topic struct {
	Name  string // as typed
	Short string // what it is about, in a few words
}

// Topics returns the manuals, in the order in which people need them.
func Topics() []Topic {
	return []Topic{
		{"operator", "install a gateway, load lists, federate with a neighbour"},
		{"legal", "agreements and rules, for legal officers"},
		{"auditor", "inspect the logs, and open what was asked"},
		{"runbook", "what to do when something is wrong"},
		{"config", "every field of the configuration file"},
		{"wire", "the protocol, byte for byte"},
	}
}

// Text returns a manual in Markdown, and whether there is one of that name.
func Text(topic string) (string, bool) {
	if topic == "wire" {
		return proto.Spec, true
	}
	b, err := fs.ReadFile(manuals, topic+".md")
	if err != nil {
		return "", false
	}
	return string(b), true
}
