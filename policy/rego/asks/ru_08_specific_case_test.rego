package passerelle.tests["RU-08"]

import data.passerelle.tests.fixtures as f

set(doc, field, n) := f.decide(json.patch(doc, [
	{"op": "replace", "path": "/query/kind", "value": "set"},
	{"op": "replace", "path": sprintf("/query/%s", [field]), "value": n},
]))

# A set of 40,000 passport hashes with no case reference.
test_refuse_example if {
	d := set(f.with_fact(f.ask, "/query/case_ref/present", false), "subject_count", 40000)
	f.denied(d) == {"RU-06", "RU-08"}
	f.denied(set(f.answer, "items", 40000)) == {"RU-08"}
}

# The 183 passengers of a flight, under an agreement that permits flight-list screening.
test_pass_example if {
	set(f.ask, "subject_count", 183).allow
	set(f.answer, "items", 192).allow
}

test_sets_not_allowed if {
	forbidden := f.with_fact(f.ask, "/agreement/set_screening_allowed", false)
	f.denied(set(forbidden, "subject_count", 2)) == {"RU-08"}
	missing := f.without(f.answer, "/agreement/set_screening_allowed")
	f.denied(set(missing, "items", 4)) == {"RU-08"}
}

test_largest_set if {
	set(f.ask, "subject_count", 190).allow
	not set(f.ask, "subject_count", 191).allow
	not set(f.answer, "items", 256).allow
	not set(f.ask, "subject_count", 0).allow
	not set(f.ask, "subject_count", -1).allow
	not set(f.ask, "subject_count", 1.5).allow
	not set(f.ask, "subject_count", "2").allow
}

test_largest_set_padded if {
	every step in [
		{"max": 1, "items": 1}, {"max": 2, "items": 4}, {"max": 16, "items": 16},
		{"max": 17, "items": 64}, {"max": 64, "items": 64}, {"max": 65, "items": 128},
	] {
		doc := f.with_fact(f.answer, "/agreement/max_set", step.max)
		set(doc, "items", step.items).allow
		not set(doc, "items", step.items + 1).allow
	}
	not set(f.with_fact(f.answer, "/agreement/max_set", 0), "items", 1).allow
}

test_single_is_one_person if {
	d := f.decide(f.with_fact(f.ask, "/query/subject_count", 2))
	f.denied(d) == {"RU-08"}
	e := f.decide(f.with_fact(f.answer, "/query/items", 4))
	f.denied(e) == {"RU-08"}
}

test_missing_facts if {
	every path in ["/query/kind", "/query/items"] {
		d := f.decide(f.without(f.answer, path))
		f.denied(d) == {"RU-08"}
	}
	d := f.decide(f.with_fact(f.ask, "/query/kind", "bulk"))
	f.denied(d) == {"RU-08"}
}

test_switched_off if set(f.off(f.ask, "RU-08"), "subject_count", 40000).allow
