# METADATA
# title: Inputs that pass
# description: |
#   One input of each door that the rules allow, about fictional countries A and B. Tests change one fact at a time.
#   A test in Go compares the fields with the types of package policy.
package passerelle.tests.fixtures

agreement := {
	"id": "A-B-2026",
	"digest": "11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa11aa",
	"parties": [
		{
			"trust_domain": "a.example",
			"country": "AAA",
			"agency_code": "A-POL",
			"competences": ["investigation"],
			"legal_bases": [{
				"ref": "A-Police-Act-2019 s.3",
				"purposes": ["ct-travel-screening", "terrorism-trial"],
				"categories": ["document", "watchlist"],
			}],
		},
		{
			"trust_domain": "b.example",
			"country": "BBB",
			"agency_code": "B-BP",
			"competences": ["terrorism", "border_control"],
			"legal_bases": [
				{
					"ref": "B-Border-Act-2021 s.14(2)",
					"purposes": ["ct-travel-screening"],
					"categories": ["document", "watchlist", "api"],
				},
				{"ref": "B-Trial-Act-2020 s.9", "purposes": ["terrorism-trial"], "categories": ["watchlist"]},
			],
		},
	],
	"collections": [
		{"name": "stolen-documents", "holder": "a.example", "category": "document", "classes": ["doc", "doc+dob"]},
		{"name": "watchlist", "holder": "a.example", "category": "watchlist", "classes": ["doc", "name+dob"]},
	],
	"categories": ["document", "watchlist"],
	"purposes": [
		{"code": "ct-travel-screening", "categories": ["document", "watchlist"]},
		{"code": "terrorism-trial", "categories": ["watchlist"]},
	],
	"valid_from": "2026-01-01T00:00:00Z",
	"valid_to": "2027-06-30T00:00:00Z",
	"suspended": false,
	"set_screening_allowed": true,
	"max_set": 190,
	"thresholds": {"name": 850},
	"min_quality": {},
	"retention_days": {"watchlist": 180},
	"sla": {"urgent": 3600, "normal": 172800},
	"regimes": ["UN", "EU-LED"],
	"disabled_rules": [],
}

gateway_a := {
	"spiffe_id": "spiffe://a.example/gateway/main",
	"trust_domain": "a.example",
	"country": "AAA",
	"agency_code": "A-POL",
	"country_risk_flags": [],
	"protection_level": "adequate",
	"attests_probe_deletion": true,
	"overdue_purge_receipts": 0,
	"false_candidate_reports": 0,
}

gateway_b := object.union(gateway_a, {
	"spiffe_id": "spiffe://b.example/gateway/main",
	"trust_domain": "b.example",
	"country": "BBB",
	"agency_code": "B-BP",
})

text := {"present": true, "length": 80, "words": 8, "boilerplate": false}

subject := {"category": "suspect", "age_years": 34, "age_certainty": "known", "minor_flag": false}

record := {
	"originator": "a.example",
	"source_list": "national",
	"subject_category": "suspect",
	"protection_status": "none",
	"country_of_origin": "CCC",
	"not_to": [],
	"basis": "fact",
	"reliability_grade": "B2",
	"last_verified": "2026-09-01T00:00:00Z",
	"review_by": "2027-09-01T00:00:00Z",
	"criterion_code": "conviction",
	"nominator": "A-POL",
	"redress_state": "none",
	"created_at": "2025-09-01T00:00:00Z",
	"masked": false,
	"state": "active",
	"minor": false,
	"alert_kind": "discreet-check",
	"action_instruction": "inform",
}

log := {"write_ok": true, "timestamp_age_s": 20, "max_timestamp_age_s": 3600}

# Border police of B ask A about one traveller on its watch list.
ask := {
	"version": 1,
	"door": "ask",
	"now": "2026-11-22T18:55:58Z",
	"agreement": agreement,
	"self": gateway_b,
	"peer": gateway_a,
	"officer": {
		"pseudonym": "00112233445566778899aabbccddeeff",
		"named": true,
		"unit": "ffeeddccbbaa99887766554433221100",
		"roles": ["asking"],
		"trained_until": "2027-01-01T00:00:00Z",
	},
	"query": {
		"collection": "watchlist",
		"category": "watchlist",
		"purpose_code": "ct-travel-screening",
		"legal_basis_ref": "B-Border-Act-2021 s.14(2)",
		"offence_code": "terrorist-travel",
		"urgency": "normal",
		"kind": "single",
		"subject_count": 1,
		"modality": "name",
		"profile": "names-1",
		"case_ref": {"present": true, "placeholder": false},
		"justification": text,
		"necessity_code": "",
		"contribution_note": text,
		"prior_checks": [{"database": "national-watchlist", "time": "2026-11-22T18:50:00Z", "hit": false}],
		"prior_check_waiver_reason": "",
	},
	"subject": subject,
}

# The same query, as A sees it.
answer := {
	"version": 1,
	"door": "answer",
	"now": "2026-11-22T18:55:59Z",
	"agreement": agreement,
	"self": gateway_a,
	"peer": gateway_b,
	"query": {
		"agreement": "A-B-2026",
		"agreement_digest": agreement.digest,
		"collection": "watchlist",
		"category": "watchlist",
		"purpose_code": "ct-travel-screening",
		"legal_basis_ref": "B-Border-Act-2021 s.14(2)",
		"offence_code": "terrorist-travel",
		"urgency": "normal",
		"kind": "single",
		"items": 1,
		"unit": "ffeeddccbbaa99887766554433221100",
		"case_reference": true,
		"justification": true,
		"ask_rules": ["RU-01", "RU-06"],
	},
	"budgets": [
		{"scope": "peer", "used": 211, "requested": 1, "limit": 500, "resets_in_s": 7200},
		{"scope": "unit", "used": 10, "requested": 1, "limit": 50, "resets_in_s": 7200},
	],
	"log": log,
}

publish := {
	"version": 1,
	"door": "publish",
	"now": "2026-11-22T18:00:00Z",
	"agreement": agreement,
	"self": gateway_a,
	"peer": gateway_b,
	"collection": "watchlist",
	"category": "watchlist",
	"record": record,
}

disclose := {
	"version": 1,
	"door": "disclose",
	"now": "2026-11-22T19:30:00Z",
	"agreement": agreement,
	"self": gateway_a,
	"peer": gateway_b,
	"stage": "full",
	"query": answer.query,
	"subject": subject,
	"record": record,
	"match": {
		"modality": "name",
		"profile": "names-1",
		"threshold": 850,
		"within_threshold": true,
		"scored": true,
		"score": 930,
		"candidates_count": 1,
		"confirmed": true,
		"confirmed_by": 1,
		"confirmed_at": "2026-11-22T19:20:00Z",
	},
	"approvals": [],
	"fields": ["name", "date_of_birth"],
	"log": log,
}

no_approval := {"role": "", "side": "", "officer": "", "unit": "", "time": "", "granted": false}

# Border police of B want to use a hit from A as evidence in a trial.
reuse := {
	"version": 1,
	"door": "retain",
	"now": "2026-12-01T09:00:00Z",
	"action": "reuse",
	"agreement": agreement,
	"self": gateway_b,
	"peer": gateway_a,
	"category": "watchlist",
	"reuse": {
		"original_purpose": "ct-travel-screening",
		"new_purpose": "terrorism-trial",
		"authorised_by_law": true,
		"legal_basis_ref": "B-Trial-Act-2020 s.9",
		"necessity_note": text,
	},
	"onward": {"destination": "", "agency": "", "reason": no_text},
	"reader": {"role": "", "purpose": ""},
	"approvals": [{
		"role": "originator",
		"side": "a.example",
		"officer": "0123456789abcdef0123456789abcdef",
		"unit": "fedcba9876543210fedcba9876543210",
		"time": "2026-11-30T10:00:00Z",
		"granted": true,
	}],
}

no_text := {"present": false, "length": 0, "words": 0, "boilerplate": false}

# The supervisory authority of B reads the log of B.
read_log := object.union(reuse, {
	"action": "read_log",
	"reuse": {
		"original_purpose": "",
		"new_purpose": "",
		"authorised_by_law": false,
		"legal_basis_ref": "",
		"necessity_note": no_text,
	},
	"reader": {"role": "supervisor", "purpose": "lawfulness"},
	"approvals": [],
})

# What the rules decide for an input.
decide(doc) := decision if decision := data.passerelle.decision with input as doc

# The input with one fact replaced.
with_fact(doc, path, value) := json.patch(doc, [{"op": "replace", "path": path, "value": value}])

# The input without one fact.
without(doc, path) := json.patch(doc, [{"op": "remove", "path": path}])

# The ids of the rules that deny.
denied(decision) := {d.rule | some d in decision.denials}

# The kinds of the obligations of a rule.
duties(decision, id) := {o.kind | some o in decision.obligations; o.rule == id}

off(doc, id) := with_fact(doc, "/agreement/disabled_rules", [id])
