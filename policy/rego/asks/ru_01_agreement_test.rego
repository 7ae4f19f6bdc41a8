package passerelle.tests["RU-01"]

import data.passerelle.tests.fixtures as f

# Country B asks for a fingerprint match; the agreement lists only documents and the watch list.
test_refuse_example if {
	d := f.decide(f.with_fact(f.ask, "/query/category", "biometric"))
	"RU-01" in f.denied(d)
}

# Country B asks whether a passport is reported stolen; the agreement covers documents until 2027-06-30.
test_pass_example if {
	doc := json.patch(f.ask, [
		{"op": "replace", "path": "/query/category", "value": "document"},
		{"op": "replace", "path": "/query/collection", "value": "stolen-documents"},
		{"op": "replace", "path": "/query/modality", "value": ""},
	])
	d := f.decide(doc)
	d.allow
	{"kind": "attach_agreement", "agreement": "A-B-2026", "rule": "RU-01"} in d.obligations
}

every_door := [f.ask, f.answer, f.publish, f.disclose]

test_no_agreement if {
	every doc in every_door {
		every id in ["", null, 7, {}] {
			d := f.decide(f.with_fact(doc, "/agreement/id", id))
			not d.allow
			"RU-01" in f.denied(d)
		}
	}
}

test_missing_facts if {
	every doc in every_door {
		every path in [
			"/agreement", "/agreement/id", "/agreement/parties", "/agreement/collections", "/agreement/categories",
			"/agreement/valid_from", "/agreement/valid_to", "/agreement/suspended", "/now", "/self", "/peer",
		] {
			d := f.decide(f.without(doc, path))
			"RU-01" in f.denied(d)
		}
	}
}

test_suspended if {
	every doc in every_door {
		d := f.decide(f.with_fact(doc, "/agreement/suspended", true))
		f.denied(d) == {"RU-01"}
		d.denials[0].sentence == "The agreement is suspended. Wait until it is in force again, or ask your legal officer."
	}
}

at(moment) := f.decide(f.with_fact(f.ask, "/now", moment))

test_first_and_last_moment if {
	not at("2025-12-31T23:59:59Z").allow
	at("2026-01-01T00:00:00Z").allow
	at("2027-06-29T23:59:59Z").allow
	not at("2027-06-30T00:00:00Z").allow
}

test_no_end_date_is_no_agreement_for_ever if {
	every value in ["", null, {}, "2099", "9999-99-99"] {
		d := f.decide(f.with_fact(f.ask, "/agreement/valid_to", value))
		f.denied(d) == {"RU-01"}
	}
}

test_stranger if {
	every doc in every_door {
		every path in ["/peer/trust_domain", "/peer/country", "/peer/agency_code", "/self/trust_domain", "/self/agency_code"] {
			d := f.decide(f.with_fact(doc, path, "c.example"))
			"RU-01" in f.denied(d)
		}
	}
}

test_own_country if {
	d := f.decide(f.with_fact(f.answer, "/peer", f.gateway_a))
	"RU-01" in f.denied(d)
}

test_collection_not_opened if {
	d := f.decide(f.with_fact(f.ask, "/query/collection", "gallery"))
	f.denied(d) == {"RU-01"}
}

test_collection_of_the_other_side if {
	doc := f.with_fact(f.ask, "/agreement/collections/1/holder", "b.example")
	d := f.decide(doc)
	f.denied(d) == {"RU-01"}
}

test_collection_of_another_category if {
	d := f.decide(f.with_fact(f.ask, "/query/collection", "stolen-documents"))
	f.denied(d) == {"RU-01"}
}

test_other_text_of_the_agreement if {
	every change in [
		{"path": "/query/agreement", "value": "A-B-2025"},
		{"path": "/query/agreement_digest", "value": "22"},
		{"path": "/agreement/digest", "value": ""},
	] {
		d := f.decide(f.with_fact(f.answer, change.path, change.value))
		f.denied(d) == {"RU-01"}
	}
	both := f.with_fact(f.with_fact(f.answer, "/query/agreement_digest", ""), "/agreement/digest", "")
	d := f.decide(both)
	f.denied(d) == {"RU-01"}
}

test_cannot_be_switched_off if {
	doc := f.off(f.with_fact(f.ask, "/agreement/suspended", true), "RU-01")
	d := f.decide(doc)
	f.denied(d) == {"RU-01"}
}
