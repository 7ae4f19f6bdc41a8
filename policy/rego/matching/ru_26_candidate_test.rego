package passerelle.tests["RU-26"]

import data.passerelle.tests.fixtures as f

disclosed(path, value) := f.decide(f.with_fact(f.disclose, path, value))

# Name score 0.71 where the agreement says 0.85, asked to be returned "as possible".
test_refuse_example if f.denied(disclosed("/match/score", 710)) == {"RU-26"}

# Name score 0.93, returned as candidate.
test_pass_example if disclosed("/match/score", 930).allow

test_asking_binds_to_threshold_and_review if {
	d := f.decide(f.ask)
	d.limits == {"threshold": 850}
	{"kind": "human_review", "people": 1, "rule": "RU-26"} in d.obligations
	{"kind": "log_match", "modality": "name", "profile": "names-1", "threshold": 850, "rule": "RU-26"} in d.obligations
}

test_no_score_in_any_obligation if {
	d := f.decide(f.ask)
	every o in d.obligations {
		not o.score
	}
}

test_exact_keys_have_no_threshold if {
	d := f.decide(f.with_fact(f.ask, "/query/modality", ""))
	d.allow
	d.limits == {}
	f.duties(d, "RU-26") == {"human_review"}
	doc := json.patch(f.disclose, [
		{"op": "replace", "path": "/match/modality", "value": ""},
		{"op": "replace", "path": "/match/scored", "value": false},
		{"op": "replace", "path": "/match/threshold", "value": 0},
	])
	e := f.decide(doc)
	e.allow
	g := f.decide(f.with_fact(doc, "/match/within_threshold", false))
	f.denied(g) == {"RU-26"}
}

test_no_agreed_threshold if {
	every value in [{}, {"name": 0}, {"name": "850"}, {"face": 900}] {
		d := f.decide(f.with_fact(f.ask, "/agreement/thresholds", value))
		f.denied(d) == {"RU-26"}
	}
}

test_comparison_is_named if {
	every value in ["", null, 1] {
		f.denied(f.decide(f.with_fact(f.ask, "/query/profile", value))) == {"RU-26"}
		f.denied(disclosed("/match/profile", value)) == {"RU-26"}
	}
}

test_edges_of_the_score if {
	disclosed("/match/score", 850).allow
	not disclosed("/match/score", 849).allow
	not disclosed("/match/score", "900").allow
}

test_lower_threshold_than_agreed if f.denied(disclosed("/match/threshold", 700)) == {"RU-26"}

test_without_score_the_comparison_counts if {
	doc := f.with_fact(f.disclose, "/match/scored", false)
	d := f.decide(doc)
	d.allow
	e := f.decide(f.with_fact(doc, "/match/within_threshold", false))
	f.denied(e) == {"RU-26"}
}

test_people_first if {
	f.denied(disclosed("/match/confirmed", false)) == {"RU-26"}
	f.denied(disclosed("/match/confirmed_by", 0)) == {"RU-26"}
	f.denied(disclosed("/stage", "")) == {"RU-26"}
}

test_comparison_material_comes_before_confirmation if {
	doc := json.patch(f.disclose, [
		{"op": "replace", "path": "/stage", "value": "verify"},
		{"op": "replace", "path": "/match/confirmed", "value": false},
	])
	d := f.decide(doc)
	d.allow
}

test_missing_facts if {
	every path in ["/match", "/match/modality", "/match/within_threshold", "/match/threshold", "/match/score", "/match/confirmed", "/stage"] {
		d := f.decide(f.without(f.disclose, path))
		f.denied(d) == {"RU-26"}
	}
	d := f.decide(f.without(f.ask, "/query/modality"))
	f.denied(d) == {"RU-26"}
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.disclose, "/match/score", 710), "RU-26"))
	d.allow
}
