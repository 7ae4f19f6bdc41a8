// Package configdoc writes the reference of the configuration file from the Go
// source of its type: the comments of the fields are the manual, so there is one
// text and not two.
//
// Out of scope: types that are not structs, strings, numbers, durations, or
// slices of them.
package configdoc

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

const head = "# Configuration\n\n" +
	"The configuration of a gateway is one YAML file, `passerelle.yaml` in its folder. `passerelle init` writes it, and\n" +
	"`passerelle config check FILE` says everything that is wrong with it. Keys that are not listed here are refused. A\n" +
	"field that is missing has its zero value: empty, 0 or false.\n"

// Markdown returns the reference, from the source of the file that declares the
// struct Config with the tags of YAML.
func Markdown(source []byte) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("configdoc: %w", err)
	}
	d := &document{structs: make(map[string]*ast.StructType)}
	for _, decl := range file.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			t := spec.(*ast.TypeSpec)
			if s, ok := t.Type.(*ast.StructType); ok {
				d.structs[t.Name.Name] = s
			}
		}
	}
	if d.structs["Config"] == nil {
		return nil, errors.New("configdoc: there is no struct Config")
	}
	d.out.WriteString(head + "\n")
	if err := d.fields("Config", ""); err != nil {
		return nil, err
	}
	return d.out.Bytes(), nil
}

// A document is the text under way.
type document struct {
	structs map[string]*ast.StructType
	out     bytes.Buffer
}

// fields writes the fields of a struct, with the names under which they are in
// the file.
func (d *document) fields(name, prefix string) error {
	for _, f := range d.structs[name].Fields.List {
		if len(f.Names) != 1 || f.Tag == nil {
			return fmt.Errorf("configdoc: %s has a field without one name and a tag", name)
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			return fmt.Errorf("configdoc: %s.%s: %w", name, f.Names[0].Name, err)
		}
		key, _, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
		text := strings.TrimSpace(f.Doc.Text())
		if key == "" || text == "" {
			return fmt.Errorf("configdoc: %s.%s has no YAML name, or no comment", name, f.Names[0].Name)
		}
		kind, inner, err := d.kind(f.Type)
		if err != nil {
			return fmt.Errorf("configdoc: %s.%s: %w", name, f.Names[0].Name, err)
		}
		// Comments speak of fields by their names in Go, the file does not.
		text = d.renamed(name, text)
		fmt.Fprintf(&d.out, "## `%s%s`\n\n%s.\n\n%s\n\n", prefix, key, kind, text)
		if inner != "" {
			if err := d.fields(inner, prefix+key+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

var word = regexp.MustCompile(`[A-Za-z0-9_]+`)

// renamed returns a comment with the names of the fields of a struct as they are
// in the file.
func (d *document) renamed(name, text string) string {
	names := make(map[string]string)
	for _, f := range d.structs[name].Fields.List {
		if tag, err := strconv.Unquote(f.Tag.Value); err == nil {
			key, _, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
			names[f.Names[0].Name] = "`" + key + "`"
		}
	}
	return word.ReplaceAllStringFunc(text, func(w string) string {
		if to, ok := names[w]; ok {
			return to
		}
		return w
	})
}

// kind returns what is written in the file for a type, and the struct in it.
func (d *document) kind(t ast.Expr) (kind, inner string, err error) {
	switch t := t.(type) {
	case *ast.Ident:
		switch t.Name {
		case "string":
			return "Text", "", nil
		case "bool":
			return "true or false", "", nil
		case "int", "int64", "uint32", "uint64":
			return "A whole number", "", nil
		case "float64":
			return "A number", "", nil
		}
		if d.structs[t.Name] != nil {
			return "A group of fields", t.Name, nil
		}
	case *ast.SelectorExpr:
		if x, ok := t.X.(*ast.Ident); ok && x.Name == "time" && t.Sel.Name == "Duration" {
			return "A duration, such as 500ms, 10s or 1h30m", "", nil
		}
	case *ast.ArrayType:
		kind, inner, err := d.kind(t.Elt)
		return "A list; each: " + strings.ToLower(kind[:min(len(kind), 1)]) + kind[min(len(kind), 1):], inner, err
	}
	return "", "", errors.New("type is not known")
}
