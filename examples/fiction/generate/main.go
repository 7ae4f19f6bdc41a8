// Command generate writes the sample files of package fiction into a folder.
//
//	generate DIR
//
// It exits with 1 if a file cannot be written, and with 2 without an argument.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/passerelle/passerelle/examples/fiction"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	files, err := fiction.Samples()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
