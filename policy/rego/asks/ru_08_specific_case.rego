# METADATA
# title: Specific case, no bulk or fishing
# description: |
#   A search must concern specific persons in a specific case; systematic, bulk or untargeted comparison of whole
#   lists is refused. A set is screened only where the agreement expressly allows it.
# custom:
#   doors: [ask, answer]
#   regimes: [EU-LED, EU-Eurodac, EU-AIA]
#   citation: >-
#     Eurodac Reg. 2024/1358 Art. 33(1)(c) "necessary in a specific case including specific persons"; LED recital 72:
#     derogations "should not allow frequent, massive and structural transfers"; AI Act Art. 26(10) no use "in an untargeted way"
#   verified: true
#   limits: The holder sees the number of subjects padded, so a set may be up to one padding step over the agreed size.
package passerelle.rules["RU-08"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "The query is neither about one person nor about a set. Ask again as one of the two." if {
	not one_of_the_two
}

one_of_the_two if input.query.kind in {"single", "set"}

deny contains "A single query is about one person. Ask about each person in turn, or screen a set if the agreement allows it." if {
	input.query.kind == "single"
	not one_person
}

one_person if size == 1

# At the holder the number is padded.
size := input.query.subject_count if input.door == "ask"

size := input.query.items if input.door == "answer"

deny contains "The agreement does not allow sets to be screened. Ask about specific persons in a specific case." if {
	input.query.kind == "set"
	not sets_allowed
}

sets_allowed if input.agreement.set_screening_allowed == true

deny contains "The set is larger than the agreement allows. Ask about fewer persons; one flight or ship at a time." if {
	input.query.kind == "set"
	sets_allowed
	not agreed_size
}

agreed_size if {
	facts.whole(size)
	size >= 1
	size <= largest
}

largest := input.agreement.max_set if input.door == "ask"

largest := facts.padded(input.agreement.max_set) if {
	input.door == "answer"
	facts.whole(input.agreement.max_set)
	input.agreement.max_set > 0
}
