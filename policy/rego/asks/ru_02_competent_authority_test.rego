package passerelle.tests["RU-02"]

import data.passerelle.tests.fixtures as f

competent(doc, list) := f.decide(f.with_fact(doc, "/agreement/parties/1/competences", list))

# A health or tax agency sends a watch-list query.
test_refuse_example if {
	every list in [["health"], ["tax", "marketing"], []] {
		f.denied(competent(f.answer, list)) == {"RU-02"}
		f.denied(competent(f.publish, list)) == {"RU-02"}
		f.denied(competent(f.disclose, list)) == {"RU-02"}
	}
}

# The border police, registered as competent for terrorism offences, send the same query.
test_pass_example if {
	competent(f.answer, ["terrorism"]).allow
	competent(f.answer, ["tax", "border_control"]).allow
}

test_competence_of_another_agency_does_not_count if {
	doc := f.with_fact(f.answer, "/agreement/parties/1/agency_code", "B-OTHER")
	d := f.decide(doc)
	"RU-02" in f.denied(d)
}

test_missing_facts if {
	d := f.decide(f.without(f.answer, "/agreement/parties/1/competences"))
	f.denied(d) == {"RU-02"}
}

test_switched_off if competent(f.off(f.answer, "RU-02"), ["health"]).allow
