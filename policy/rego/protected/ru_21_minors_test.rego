package passerelle.tests["RU-21"]

import data.passerelle.tests.fixtures as f

published(path, value) := f.decide(f.with_fact(f.publish, path, value))

# A child recorded as "5-7 years".
test_refuse_example if {
	d := published("/record/minor", true)
	f.denied(d) == {"RU-21"}
	not d.disclose_reason
}

# A record of an adult.
test_pass_example if {
	d := f.decide(f.publish)
	d.allow
	"RU-21" in d.rules
}

# Whoever keeps the list says that it is a minor, whatever the dates of birth say.
test_status_alone_is_enough if "RU-21" in f.denied(published("/record/protection_status", "minor"))

test_odd_facts if {
	every value in ["", "false", 0, null, {}] {
		f.denied(published("/record/minor", value)) == {"RU-21"}
	}
}

test_missing_facts if {
	every path in ["/record", "/record/minor", "/record/protection_status"] {
		d := f.decide(f.without(f.publish, path))
		"RU-21" in f.denied(d)
	}
}

test_no_other_door if {
	d := f.decide(f.with_fact(f.disclose, "/record/minor", true))
	not "RU-21" in d.rules
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.publish, "/record/minor", true), "RU-21"))
	d.allow
}
