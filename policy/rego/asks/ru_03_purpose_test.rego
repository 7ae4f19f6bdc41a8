package passerelle.tests["RU-03"]

import data.passerelle.tests.fixtures as f

# Only RU-03 looks at the purpose, once the register of legal bases has it.
purpose(doc, code) := f.decide(json.patch(doc, [
	{"op": "replace", "path": "/query/purpose_code", "value": code},
	{"op": "replace", "path": "/agreement/parties/1/legal_bases/0/purposes", "value": [code]},
]))

# Purpose "tax-enforcement" on a watch-list query.
test_refuse_example if {
	f.denied(purpose(f.ask, "tax-enforcement")) == {"RU-03"}
	f.denied(purpose(f.answer, "tax-enforcement")) == {"RU-03"}
}

# Purpose "ct-travel-screening" on the same query at an air border.
test_pass_example if {
	purpose(f.ask, "ct-travel-screening").allow
	purpose(f.answer, "ct-travel-screening").allow
}

test_purpose_of_another_category if {
	doc := f.with_fact(f.ask, "/agreement/purposes/0/categories", ["document"])
	d := purpose(doc, "ct-travel-screening")
	f.denied(d) == {"RU-03"}
	contains(d.denials[0].sentence, `"watchlist"`)
}

test_missing_facts if {
	every doc in [f.ask, f.answer] {
		every path in ["/query/purpose_code", "/query/category", "/agreement/purposes", "/query"] {
			d := f.decide(f.without(doc, path))
			"RU-03" in f.denied(d)
		}
	}
}

test_switched_off if purpose(f.off(f.ask, "RU-03"), "tax-enforcement").allow
