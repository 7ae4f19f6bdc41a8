// Command generate writes config.md from the type gateway.Config. It is run by
// `go generate` in cmd/passerelle/help; a test checks that the file is current.
package main

import (
	"fmt"
	"os"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/configdoc"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate() error {
	source, err := os.ReadFile("../../../gateway/config.go")
	if err != nil {
		return err
	}
	text, err := configdoc.Markdown(source)
	if err != nil {
		return err
	}
	return os.WriteFile("config.md", text, 0o644)
}
