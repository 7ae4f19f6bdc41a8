package store

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Records and candidates are personal data. They print as a constant in every
// verb, in logs and in JSON, so that a forgotten %v shows nothing. What shows them
// reads their fields.

// Format hides the record.
func (r RecordRow) Format(f fmt.State, _ rune) { io.WriteString(f, "store.RecordRow(hidden)") }

// LogValue hides the record.
func (r RecordRow) LogValue() slog.Value { return slog.StringValue("store.RecordRow(hidden)") }

// MarshalJSON hides the record.
func (r RecordRow) MarshalJSON() ([]byte, error) { return json.Marshal("store.RecordRow(hidden)") }

// Format hides the candidate.
func (c Candidate) Format(f fmt.State, _ rune) { io.WriteString(f, "store.Candidate(hidden)") }

// LogValue hides the candidate.
func (c Candidate) LogValue() slog.Value { return slog.StringValue("store.Candidate(hidden)") }

// MarshalJSON hides the candidate.
func (c Candidate) MarshalJSON() ([]byte, error) { return json.Marshal("store.Candidate(hidden)") }
