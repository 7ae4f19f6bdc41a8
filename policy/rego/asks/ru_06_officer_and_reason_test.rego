package passerelle.tests["RU-06"]

import data.passerelle.tests.fixtures as f

asked(path, value) := f.decide(f.with_fact(f.ask, path, value))

answered(path, value) := f.decide(f.with_fact(f.answer, path, value))

# officer_id = "batch" and justification = "check".
test_refuse_example if {
	doc := json.patch(f.ask, [
		{"op": "replace", "path": "/officer/named", "value": false},
		{
			"op": "replace", "path": "/query/justification",
			"value": {"present": true, "length": 1, "words": 1, "boilerplate": true},
		},
	])
	d := f.decide(doc)
	f.denied(d) == {"RU-06"}
	count(d.denials) == 2
}

# A named officer, a case, and a justification of one full sentence.
test_pass_example if {
	d := f.decide(f.ask)
	d.allow
	"log_justification" in f.duties(d, "RU-06")
}

test_each_fact_counts if {
	every change in [
		{"path": "/officer/named", "value": false},
		{"path": "/officer/pseudonym", "value": ""},
		{"path": "/officer/unit", "value": ""},
		{"path": "/query/case_ref/present", "value": false},
		{"path": "/query/case_ref/placeholder", "value": true},
		{"path": "/query/justification/boilerplate", "value": true},
		{"path": "/query/justification/length", "value": 10},
		{"path": "/query/justification/words", "value": 3},
	] {
		f.denied(asked(change.path, change.value)) == {"RU-06"}
	}
}

test_shortest_justification if {
	asked("/query/justification/length", 20).allow
	asked("/query/justification/words", 4).allow
}

test_holder_wants_the_flags if {
	f.denied(answered("/query/unit", "")) == {"RU-06"}
	f.denied(answered("/query/case_reference", false)) == {"RU-06"}
	f.denied(answered("/query/justification", false)) == {"RU-06"}
}

test_missing_facts if {
	every path in ["/officer", "/officer/named", "/officer/unit", "/query/case_ref", "/query/justification"] {
		d := f.decide(f.without(f.ask, path))
		f.denied(d) == {"RU-06"}
	}
	every path in ["/query/unit", "/query/case_reference", "/query/justification"] {
		d := f.decide(f.without(f.answer, path))
		f.denied(d) == {"RU-06"}
	}
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.ask, "/officer/named", false), "RU-06"))
	d.allow
}
