# METADATA
# title: Purpose is one of the permitted purposes
# description: |
#   Every query carries one purpose code out of a closed list, and that purpose must be allowed for the data
#   category by the agreement that is relied on.
# custom:
#   doors: [ask, answer]
#   regimes: [UN, EU-LED, INTERPOL]
#   citation: LED Art. 4(1)(b) "collected for specified, explicit and legitimate purposes"; LED Art. 8(1); S/RES/2396 (2017) OP 11-12
#   verified: true
#   references:
#     - INTERPOL RPD Art. 10 (read in a secondary source)
#   limits: Of S/RES/2396 only the paragraph numbers were confirmed, not the wording.
package passerelle.rules["RU-03"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

# Never undefined, so that a sentence may name it.
default purpose_code := ""

purpose_code := input.query.purpose_code

deny contains sprintf("The purpose %q is not one of the agreement's purposes. Choose one that is.", [purpose_code]) if {
	not listed
}

listed if {
	some purpose in input.agreement.purposes
	purpose.code == input.query.purpose_code
}

deny contains sprintf("The purpose %q does not open data of the category %q. Choose one that does.", [purpose_code, facts.category]) if {
	listed
	not opens_category
}

opens_category if {
	some purpose in input.agreement.purposes
	purpose.code == input.query.purpose_code
	facts.category in purpose.categories
}
