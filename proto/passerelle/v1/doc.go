// Package passerellev1 is the messages and services of Passerelle, generated
// from the .proto files beside it by .ci/generate.
//
//	PeerService      one country's gateway to another's
//	NationalService  officers and national systems, inside one country
//	AdminService     operators and legal officers
//	AuditService     auditors
//	PolicyService    legal officers
//	IdentityService  certificates of enrolled officers, local only
//
// Each message and field says its unit, its bound, and whether it is personal
// data; proto/SPEC.md is the protocol, with every byte that is hashed or signed.
// No message of PeerService can hold personal data.
//
// Out of scope: what the messages mean. Package gateway/internal/rpc is the only
// one that turns them into our own types and back.
package passerellev1
