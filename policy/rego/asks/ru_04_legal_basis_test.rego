package passerelle.tests["RU-04"]

import data.passerelle.tests.fixtures as f

basis(doc, ref) := f.decide(f.with_fact(doc, "/query/legal_basis_ref", ref))

# The reference is blank, or the text "national security".
test_refuse_example if {
	every doc in [f.ask, f.answer] {
		every ref in ["", "  ", "national security", null, 14] {
			f.denied(basis(doc, ref)) == {"RU-04"}
		}
	}
}

# A provision of the register, listed for the category.
test_pass_example if {
	basis(f.ask, "B-Border-Act-2021 s.14(2)").allow
	basis(f.answer, "B-Border-Act-2021 s.14(2)").allow
}

test_provision_of_the_other_country if f.denied(basis(f.ask, "A-Police-Act-2019 s.3")) == {"RU-04"}

test_provision_for_another_purpose if f.denied(basis(f.ask, "B-Trial-Act-2020 s.9")) == {"RU-04"}

test_provision_for_another_category if {
	doc := f.with_fact(f.ask, "/agreement/parties/1/legal_bases/0/categories", ["document"])
	f.denied(basis(doc, "B-Border-Act-2021 s.14(2)")) == {"RU-04"}
}

test_missing_facts if {
	every path in ["/query/legal_basis_ref", "/agreement/parties/1/legal_bases"] {
		d := f.decide(f.without(f.answer, path))
		f.denied(d) == {"RU-04"}
	}
}

test_switched_off if basis(f.off(f.ask, "RU-04"), "").allow
