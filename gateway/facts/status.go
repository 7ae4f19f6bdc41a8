package facts

import (
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/query"
)

// AgreementStatus returns the state of one version of an agreement in the words
// of the protocol. A version that another one has replaced is superseded,
// whatever else it is; a state that is none of the documented ones is expired, so
// that it permits nothing.
func AgreementStatus(info *agreement.Info) query.AgreementStatus {
	if info.Superseded {
		return query.Superseded
	}
	switch info.State {
	case agreement.Active:
		return query.Active
	case agreement.NotYet:
		return query.NotYet
	case agreement.Suspended:
		return query.Suspended
	}
	return query.Expired
}
