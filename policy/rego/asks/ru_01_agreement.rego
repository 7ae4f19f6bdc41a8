# METADATA
# title: Agreement in force
# description: |
#   Answer a foreign gateway only under an arrangement that is in force today between the two
#   States and that covers this data category and this purpose.
# custom:
#   doors: [ask, answer, publish, disclose]
#   regimes: [EU-LED, CoE-108+, AU/ECOWAS]
#   citation: >-
#     LED Art. 35(1)(d) and 37(1)(a) "appropriate safeguards … are provided for in a legally binding instrument";
#     LED Art. 36(5); Conv. 108+ Explanatory Report paras 109-111
#   verified: true
#   references:
#     - African Union Malabo Convention (read in a secondary source)
#     - ECOWAS Suppl. Act A/SA.1/01/10 Art. 36
package passerelle.rules["RU-01"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

permit if exists

exists if {
	is_string(input.agreement.id)
	input.agreement.id != ""
}

deny contains "There is no agreement with this country. Ask your legal officer whether one can be made." if not exists

deny contains "The agreement is suspended. Wait until it is in force again, or ask your legal officer." if {
	exists
	not running
}

running if input.agreement.suspended == false

deny contains "The agreement is not in force yet. Ask again when it is." if {
	exists
	not begun
}

begun if {
	facts.moment(input.now)
	facts.moment(input.agreement.valid_from)
	input.agreement.valid_from <= input.now
}

deny contains "The agreement has ended. Ask your legal officer for its renewal." if {
	exists
	not lasting
}

lasting if {
	facts.moment(input.now)
	facts.moment(input.agreement.valid_to)
	input.now < input.agreement.valid_to
}

deny contains "One of the two agencies is not a party to the agreement. Ask through an agency that is." if {
	exists
	not both_parties
}

both_parties if {
	input.self.trust_domain != input.peer.trust_domain
	count(facts.agencies(input.self)) > 0
	count(facts.agencies(input.peer)) > 0
}

deny contains sprintf("The agreement does not cover data of the category %q. Ask only for what it covers.", [facts.category]) if {
	exists
	not covered
}

covered if facts.category in input.agreement.categories

deny contains "The agreement does not open this collection of the holder. Choose one that it lists." if {
	exists
	not opened
}

opened if {
	some collection in input.agreement.collections
	collection.name == facts.collection
	collection.holder == facts.holder.trust_domain
	collection.category == facts.category
}

deny contains "The two countries hold different texts of the agreement. Ask your operators to compare its digest." if {
	exists
	input.door in {"answer", "disclose"}
	not same_text
}

same_text if {
	input.query.agreement == input.agreement.id
	input.query.agreement_digest == input.agreement.digest
	input.agreement.digest != ""
}

obligations contains {"kind": "attach_agreement", "agreement": input.agreement.id} if exists
