package passerelle.tests["RU-36"]

import data.passerelle.tests.fixtures as f

from(originator) := f.decide(f.with_fact(f.publish, "/record/originator", originator))

# A forwards to B what C supplied to A.
test_refuse_example if {
	every originator in ["c.example", "CCC"] {
		d := from(originator)
		f.denied(d) == {"RU-36"}
		not d.disclose_reason
	}
}

# A record of our own. The consent of C cannot be attached yet.
test_pass_example if {
	every originator in ["a.example", "AAA"] {
		from(originator).allow
	}
}

test_data_of_the_asker_go_back_to_it if {
	from("b.example").allow
	from("BBB").allow
}

test_public_list if from("United Nations Security Council").allow

test_agencies_and_other_spellings if {
	every originator in ["A-POL", "A.EXAMPLE", "a.example.evil", "aaa", "x.a.example", "United Nations", "Interpol", " "] {
		f.denied(from(originator)) == {"RU-36"}
	}
}

test_unknown_originator if {
	every originator in ["", null, 7, {}, []] {
		d := from(originator)
		f.denied(d) == {"RU-36"}
		count(d.denials) == 1
	}
}

# An empty fact never equals an empty fact.
test_nothing_equals_nothing if {
	doc := f.with_fact(f.publish, "/agreement/parties/1/country", "")
	d := f.decide(f.with_fact(doc, "/record/originator", ""))
	"RU-36" in f.denied(d)
}

test_missing_facts if {
	every path in ["/record", "/record/originator", "/agreement", "/agreement/parties"] {
		d := f.decide(f.without(f.publish, path))
		"RU-36" in f.denied(d)
	}
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.publish, "/record/originator", "c.example"), "RU-36"))
	d.allow
}
