# METADATA
# title: Recipient is a competent authority
# description: |
#   Release data only to an authority that is itself competent for preventing, detecting, investigating or
#   prosecuting criminal offences, or for border control where the agreement says so.
# custom:
#   doors: [answer, publish, disclose]
#   regimes: [EU-LED]
#   citation: LED Art. 35(1)(b) "an authority competent for the purposes referred to in Article 1(1)"
#   verified: true
#   references:
#     - INTERPOL RPD Art. 21 (read in a secondary source)
package passerelle.rules["RU-02"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

# LED Art. 1(1), terrorism as one of its offences, and border control.
competences := {"prevention", "investigation", "detection", "prosecution", "execution", "terrorism", "border_control"}

deny contains "The asking agency is not registered as competent for criminal offences or border control. Ask through one that is." if {
	not competent
}

competent if {
	some agency in facts.agencies(input.peer)
	some competence in agency.competences
	competence in competences
}
