package main

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// textFields are the fields of type bytes that hold a text file, and so are
// printed as text. All others are printed in hexadecimal.
var textFields = map[protoreflect.Name]bool{"file": true, "invite": true, "tlog_proof": true, "checkpoint": true}

// appendJSON appends m in the JSON form of this command line, which is made for
// scripts: every field is there, in the order of the message, under the name in
// the .proto file. Unset messages and times are null. Numbers are numbers, also
// those of 64 bits, which package protojson would quote.
func appendJSON(b []byte, m protoreflect.Message) []byte {
	if t, ok := m.Interface().(*timestamppb.Timestamp); ok {
		return appendString(b, t.AsTime().UTC().Format(time.RFC3339Nano))
	}
	b = append(b, '{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.ContainingOneof() != nil && !m.Has(f) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, string(f.Name()))
		b = append(b, ':')
		switch {
		case f.IsMap():
			b = appendMap(b, f, m.Get(f).Map())
		case f.IsList():
			list := m.Get(f).List()
			b = append(b, '[')
			for j := range list.Len() {
				if j > 0 {
					b = append(b, ',')
				}
				b = appendValue(b, f, list.Get(j))
			}
			b = append(b, ']')
		case f.Message() != nil && !m.Has(f):
			b = append(b, "null"...)
		default:
			b = appendValue(b, f, m.Get(f))
		}
	}
	return append(b, '}')
}

// appendMap appends a map with strings as keys, sorted.
func appendMap(b []byte, f protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	names := make([]string, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		names = append(names, k.String())
		return true
	})
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = appendValue(b, f.MapValue(), m.Get(protoreflect.ValueOfString(name).MapKey()))
	}
	return append(b, '}')
}

func appendValue(b []byte, f protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return appendJSON(b, v.Message())
	case protoreflect.EnumKind:
		return appendString(b, enumName(f.Enum(), v.Enum()))
	case protoreflect.StringKind:
		return appendString(b, v.String())
	case protoreflect.BytesKind:
		if text := v.Bytes(); textFields[f.Name()] && utf8.Valid(text) {
			return appendString(b, string(text))
		}
		return appendString(b, hex.EncodeToString(v.Bytes()))
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return strconv.AppendFloat(b, v.Float(), 'g', -1, 64)
	}
	return strconv.AppendInt(b, v.Int(), 10)
}

// enumName returns the name of a value in lower case, without the prefix of its
// type. Reasons of errors stay in capitals, as they are on the wire. The zero
// value, which means that nothing was said, is "".
func enumName(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if n == 0 || v == nil {
		return ""
	}
	prefix := strings.TrimSuffix(string(e.Values().ByNumber(0).Name()), "UNSPECIFIED")
	name := strings.TrimPrefix(string(v.Name()), prefix)
	if e.Name() == "ErrorReason" {
		return name
	}
	return strings.ToLower(name)
}

func appendString(b []byte, s string) []byte {
	q, err := json.Marshal(strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("passerelle: internal error: " + err.Error())
	}
	return append(b, q...)
}
