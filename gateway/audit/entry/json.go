package entry

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// MarshalJSON returns e as people and scripts read it: names in place of numbers,
// digests in lower-case hex, times in RFC 3339 with milliseconds, and only the
// fields that are set. It is not the form that is hashed.
func (e *Entry) MarshalJSON() ([]byte, error) {
	v := struct {
		Version         int      `json:"version"`
		Kind            string   `json:"kind"`
		Time            string   `json:"time"`
		Query           string   `json:"query,omitempty"`
		Direction       string   `json:"direction,omitempty"`
		Asker           string   `json:"asker,omitempty"`
		Holder          string   `json:"holder,omitempty"`
		Agreement       string   `json:"agreement,omitempty"`
		AgreementDigest string   `json:"agreement_digest,omitempty"`
		Purpose         string   `json:"purpose,omitempty"`
		Collection      string   `json:"collection,omitempty"`
		Profile         string   `json:"profile,omitempty"`
		Items           uint32   `json:"items,omitempty"`
		Decision        string   `json:"decision,omitempty"`
		Rules           []string `json:"rules,omitempty"`
		Bundle          string   `json:"bundle,omitempty"`
		Input           string   `json:"input,omitempty"`
		Officer         string   `json:"officer,omitempty"`
		Unit            string   `json:"unit,omitempty"`
		Protocol        uint16   `json:"protocol,omitempty"`
		Normalisation   uint16   `json:"normalisation,omitempty"`
		ListVersion     uint64   `json:"list_version,omitempty"`
		Request         string   `json:"request,omitempty"`
		Receipt         string   `json:"receipt,omitempty"`
		Auditor         string   `json:"auditor,omitempty"`
		Sealed          string   `json:"sealed,omitempty"`
		Subject         string   `json:"subject,omitempty"`
		Reason          string   `json:"reason,omitempty"`
		Outcome         string   `json:"outcome,omitempty"`
		PeerLeaf        string   `json:"peer_leaf,omitempty"`
		PeerSealed      string   `json:"peer_sealed,omitempty"`
	}{
		Version:         Version,
		Kind:            e.Kind.String(),
		Time:            time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		Query:           uuid(e.Query),
		Direction:       unlessZero(e.Direction),
		Asker:           e.Asker,
		Holder:          e.Holder,
		Agreement:       e.Agreement,
		AgreementDigest: digest(e.AgreementDigest[:]),
		Purpose:         e.Purpose,
		Collection:      e.Collection,
		Profile:         e.Profile,
		Items:           e.Items,
		Decision:        unlessZero(e.Decision),
		Rules:           e.Rules,
		Bundle:          digest(e.Bundle[:]),
		Input:           digest(e.Input[:]),
		Officer:         digest(e.Officer[:]),
		Unit:            digest(e.Unit[:]),
		Protocol:        e.Protocol,
		Normalisation:   e.Normalisation,
		ListVersion:     e.ListVersion,
		Request:         digest(e.Request[:]),
		Receipt:         digest(e.Receipt[:]),
		Auditor:         digest(e.Auditor[:]),
		Sealed:          digest(e.Sealed[:]),
		Subject:         digest(e.Subject[:]),
		Reason:          e.Reason,
		Outcome:         unlessZero(e.Outcome),
		PeerLeaf:        digest(e.PeerLeaf[:]),
		PeerSealed:      digest(e.PeerSealed[:]),
	}
	return json.Marshal(v)
}

// digest returns b in hex, or "" if it is all zero.
func digest(b []byte) string {
	for _, c := range b {
		if c != 0 {
			return hex.EncodeToString(b)
		}
	}
	return ""
}

// uuid returns id as the text of a UUID, or "" if it is zero.
func uuid(id [16]byte) string {
	h := digest(id[:])
	if h == "" {
		return ""
	}
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// unlessZero returns the name of v, or "" for the zero value.
func unlessZero[T interface {
	~uint8
	String() string
}](v T) string {
	if v == 0 {
		return ""
	}
	return v.String()
}
