# METADATA
# title: Originator control
# description: |
#   Data that came from a third State are passed on only with that State's prior authorisation. A record is published if
#   its originator is one of the two countries of the agreement, by trust domain or country code, or a list that the
#   United Nations Security Council makes public. Any other originator, or none, withholds it.
# custom:
#   doors: [publish]
#   regimes: [EU-LED]
#   citation: LED Art. 35(1)(c) "prior authorisation" of the State that supplied them
#   verified: true
#   limits: >-
#     The authorisation of a third State cannot be recorded yet: such records stay withheld, unless both countries switch
#     the rule off by agreement. A list without originators is taken for the country's own when it is read, so lists from
#     others must name theirs. Agencies are not told apart: an originator that is an agency's name withholds the record.
package passerelle.rules["RU-36"]

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "It is not known who supplied the record. Name the originator in the list, and read it again." if not known

known if {
	is_string(input.record.originator)
	input.record.originator != ""
}

deny contains "The record came from somebody who has not authorised passing it on. Ask the originator first; until then it is withheld." if {
	known
	not free
}

# The asker's own data may go back to the asker.
free if {
	some party in input.agreement.parties
	input.record.originator in {party.trust_domain, party.country}
}

free if input.record.originator in public

public := {"United Nations Security Council"}
