# METADATA
# title: No silent change of purpose
# description: |
#   Data obtained through the gateway may be used for another purpose only if the holder is authorised for that purpose
#   by law and the use is necessary and proportionate to it; otherwise a new query is needed.
# custom:
#   doors: [retain]
#   regimes: [EU-LED]
#   citation: LED Art. 4(2)(a)-(b) and Art. 9(1)
#   verified: true
package passerelle.rules["RU-05"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

permit if asked

asked if input.action == "reuse"

same_purpose if {
	input.reuse.new_purpose == input.reuse.original_purpose
	input.reuse.new_purpose != ""
}

deny contains "The law does not allow this data to be used for the new purpose. Make a new query for it instead." if {
	asked
	not same_purpose
	not lawful
}

lawful if {
	input.reuse.authorised_by_law == true
	facts.registered(facts.agencies(input.self), input.reuse.legal_basis_ref, input.reuse.new_purpose, facts.category)
}

deny contains "There is no note why the new use is necessary and proportionate. Write one full sentence." if {
	asked
	not same_purpose
	not necessary
}

necessary if {
	input.reuse.necessity_note.boilerplate == false
	input.reuse.necessity_note.length >= 20
	input.reuse.necessity_note.words >= 4
}

deny contains "The originator refused the new use. Make a new query for it instead." if {
	asked
	not same_purpose
	some approval in originators
	not approval in granted
}

# The originator's own legal officer, so the approval must come from its side.
originators contains approval if {
	some approval in input.approvals
	approval.role == "originator"
	approval.side == input.peer.trust_domain
	approval.officer != ""
}

granted contains approval if {
	some approval in originators
	approval.granted == true
}

approvals contains "originator" if {
	asked
	not same_purpose
	count(originators) == 0
}
