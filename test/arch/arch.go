// Package arch holds the architecture: which room may import which, through
// which one door a heavy dependency comes in, and how packages and files are
// named. The rules are in rules.go; they are a statement of policy and not a
// description of the code. Do not relax a rule to make a build pass: discuss it
// first.
//
// A room is a folder with one responsibility (README, and the table of floors).
// A package belongs to the room with the longest path that contains it, so
// gateway/store/storetest is of the room gateway/store, and gateway/audit/entry
// is a room of its own.
//
// Imports of test files are not judged: a test may stand above what it tests.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Module is the path of the module whose architecture is checked.
const Module = "github.com/passerelle/passerelle"

// A Package is what `go list -json` says of one package, as far as it is judged.
type Package struct {
	ImportPath string
	Doc        string   // first sentence of the package comment
	Standard   bool     // part of the standard library
	GoFiles    []string // names, without tests
	Imports    []string // direct, without those of tests
}

// A Graph is packages by import path, with all that they depend on.
type Graph map[string]*Package

// List returns the packages of the module that contains the folder dir, and all
// that they depend on. Packages that do not compile are listed too: whether they
// do is for the compiler to say.
func List(dir string) (Graph, error) {
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Doc,Standard,GoFiles,Imports", Module+"/...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("arch: go list: %w: %s", err, &stderr)
	}
	g := make(Graph)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return g, nil
		} else if err != nil {
			return nil, fmt.Errorf("arch: output of go list: %w", err)
		}
		g[p.ImportPath] = &p
	}
}

// Check returns everything that is against the rules, in a stable order, each as
// a sentence that names the packages and the reason of the rule.
func (r *Rules) Check(g Graph) []string {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	for _, name := range g.ours() {
		p := g[name]
		rel := relative(name)
		room, floor, ok := r.room(rel)
		if !ok {
			bad("%s is in no room: put its room on a floor in test/arch/rules.go", rel)
			continue
		}
		for _, imp := range p.Imports {
			if imp == Module || strings.HasPrefix(imp, Module+"/") {
				r.checkArrow(bad, rel, room, floor, relative(imp))
			} else {
				r.checkDoor(bad, rel, room, imp)
			}
		}
		for _, d := range r.Denials {
			if within(rel, d.Room) {
				d.check(bad, g, name)
			}
		}
		if a, ok := r.OnlyModules[rel]; ok {
			checkOnly(bad, g, name, a)
		}
		r.checkNames(bad, p, rel)
	}
	return faults
}

// checkArrow judges an import of one of our packages by another.
func (r *Rules) checkArrow(bad func(string, ...any), rel, room string, floor int, imp string) {
	to, below, ok := r.room(imp)
	if !ok || to == room || r.free(room, to) {
		return
	}
	switch {
	case below > floor:
		bad("%s must not import %s: arrows go down only", rel, imp)
	case below == floor:
		bad("%s must not import %s: rooms on one floor do not import each other", rel, imp)
	}
}

// free reports whether two rooms of one floor may import each other.
func (r *Rules) free(a, b string) bool {
	return slices.ContainsFunc(r.Free, func(area string) bool { return within(a, area) && within(b, area) })
}

// checkDoor judges an import of a package that is not ours.
func (r *Rules) checkDoor(bad func(string, ...any), rel, room, imp string) {
	for _, d := range r.Doors {
		if within(imp, d.Dependency) && !slices.Contains(d.Rooms, room) {
			bad("%s must not import %s: its only door is %s", rel, imp, strings.Join(d.Rooms, ", "))
		}
	}
	if within(imp, "testing") && r.Testing[rel] == "" {
		bad("%s must not import %s: test helpers belong in _test files, or in a package listed with its reason", rel, imp)
	}
}

// check judges the package with the given import path by d.
func (d *Denial) check(bad func(string, ...any), g Graph, name string) {
	from := relative(name)
	for _, imp := range g[name].Imports {
		for _, deny := range d.Direct {
			if within(strip(imp), deny) && !within(strip(imp), d.Room) {
				bad("%s must not import %s: %s", from, strip(imp), d.Why)
			}
		}
	}
	for _, deny := range d.Deps {
		// A sub-room may be denied what its own parent is.
		target := func(imp string) bool { return within(strip(imp), deny) && !within(strip(imp), d.Room) }
		if way := g.path(name, target); way != nil {
			bad("%s must not depend on %s (%s): %s", from, deny, strings.Join(way, " -> "), d.Why)
		}
	}
}

// checkOnly judges a package that may depend on few modules only.
func checkOnly(bad func(string, ...any), g Graph, name string, allowed []string) {
	way := g.path(name, func(imp string) bool {
		p := g[imp]
		if p == nil || p.Standard || imp == "C" {
			return false
		}
		return !slices.ContainsFunc(allowed, func(a string) bool { return within(strip(imp), a) })
	})
	if way != nil {
		bad("%s must depend on nothing but the standard library and [%s]: %s", relative(name),
			strings.Join(allowed, ", "), strings.Join(way, " -> "))
	}
}

// checkNames judges the comment of a package and the names of its files.
func (r *Rules) checkNames(bad func(string, ...any), p *Package, rel string) {
	if len(p.GoFiles) > 0 && p.Doc == "" {
		bad("%s has no package comment", rel)
	}
	for _, f := range p.GoFiles {
		if slices.Contains(r.ForbiddenNames, strings.TrimSuffix(f, ".go")) {
			bad("%s/%s: name a file for its role, not for its shape", rel, f)
		}
	}
	if slices.Contains(r.ForbiddenNames, path.Base(rel)) {
		bad("%s: name a package for what it knows", rel)
	}
}

// room returns the room of a package and its floor, counted from the ground.
func (r *Rules) room(rel string) (room string, floor int, ok bool) {
	for i, f := range r.Floors {
		for _, name := range f {
			exact := strings.HasSuffix(name, "!")
			name = strings.TrimSuffix(name, "!")
			if (rel == name || !exact && within(rel, name)) && (!ok || len(name) > len(room)) {
				room, floor, ok = name, i, true
			}
		}
	}
	return room, floor, ok
}

// ours returns the import paths of the packages of the module, sorted.
func (g Graph) ours() []string {
	var names []string
	for name := range g {
		if name == Module || strings.HasPrefix(name, Module+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// path returns a shortest way by imports from a package to one for which target
// holds, without the first, or nil. Other packages of our module are followed
// too; the standard library is looked at and not followed.
func (g Graph) path(from string, target func(string) bool) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		p := g[queue[0]]
		if p == nil || p.Standard {
			continue
		}
		for _, imp := range slices.Sorted(slices.Values(p.Imports)) {
			if _, seen := before[imp]; seen {
				continue
			}
			before[imp] = queue[0]
			if target(imp) {
				var way []string
				for at := imp; at != from; at = before[at] {
					way = append(way, strip(at))
				}
				slices.Reverse(way)
				return way
			}
			queue = append(queue, imp)
		}
	}
	return nil
}

// relative returns the path of one of our packages in the module, "." for the
// module itself.
func relative(importPath string) string {
	if importPath == Module {
		return "."
	}
	return strings.TrimPrefix(importPath, Module+"/")
}

// strip returns an import path as the rules write it: ours without the module.
func strip(importPath string) string { return strings.TrimPrefix(importPath, Module+"/") }

// within reports whether a path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
