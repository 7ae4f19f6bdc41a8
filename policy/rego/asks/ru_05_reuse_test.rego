package passerelle.tests["RU-05"]

import data.passerelle.tests.fixtures as f

reused(path, value) := f.decide(f.with_fact(f.reuse, path, value))

# A terrorism-travel hit for an immigration-fee case.
test_refuse_example if {
	d := reused("/reuse/new_purpose", "immigration-fee")
	f.denied(d) == {"RU-05"}
}

# The hit as evidence in the trial of the same person, with the provision named and the originator's consent.
test_pass_example if {
	d := f.decide(f.reuse)
	d.allow
}

test_same_purpose_needs_nothing_more if {
	doc := json.patch(f.reuse, [
		{"op": "replace", "path": "/reuse/new_purpose", "value": "ct-travel-screening"},
		{"op": "replace", "path": "/reuse/authorised_by_law", "value": false},
		{"op": "replace", "path": "/approvals", "value": []},
	])
	d := f.decide(doc)
	d.allow
}

test_no_purpose_at_all if {
	doc := f.with_fact(f.with_fact(f.reuse, "/reuse/new_purpose", ""), "/reuse/original_purpose", "")
	d := f.decide(doc)
	f.denied(d) == {"RU-05"}
}

test_law_does_not_allow if f.denied(reused("/reuse/authorised_by_law", false)) == {"RU-05"}

test_provision_not_registered if f.denied(reused("/reuse/legal_basis_ref", "B-Other-Act s.1")) == {"RU-05"}

test_boilerplate_note if {
	every change in [
		{"path": "/reuse/necessity_note/boilerplate", "value": true},
		{"path": "/reuse/necessity_note/length", "value": 10},
		{"path": "/reuse/necessity_note/words", "value": 3},
	] {
		f.denied(reused(change.path, change.value)) == {"RU-05"}
	}
}

test_waits_for_the_originator if {
	d := reused("/approvals", [])
	not d.allow
	count(d.denials) == 0
	d.approvals_needed == [{"role": "originator", "rule": "RU-05"}]
}

test_approval_of_the_own_side_does_not_count if {
	d := reused("/approvals/0/side", "b.example")
	not d.allow
	d.approvals_needed == [{"role": "originator", "rule": "RU-05"}]
}

test_originator_refused if f.denied(reused("/approvals/0/granted", false)) == {"RU-05"}

test_missing_facts if {
	every path in ["/reuse", "/reuse/new_purpose", "/reuse/authorised_by_law", "/reuse/necessity_note", "/agreement", "/self"] {
		d := f.decide(f.without(f.reuse, path))
		not d.allow
		f.denied(d) == {"RU-05"}
	}
}

# Without the rule nothing permits reuse.
test_switched_off if {
	d := f.decide(f.off(f.reuse, "RU-05"))
	f.denied(d) == {"default_deny"}
}
