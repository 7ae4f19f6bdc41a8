# METADATA
# title: Minors
# description: |
#   A record of a person who is or may be under 18 is not published, so that no neighbour finds it. Where the age is
#   uncertain the youngest possible age counts.
# custom:
#   doors: [publish]
#   regimes: [UN, EU-Eurodac, EU-LED]
#   citation: 'Eurodac Reg. 2024/1358 Art. 14(1): best interests "a primary consideration"; LED recitals 50-51'
#   verified: true
#   references:
#     - UN addendum to the Madrid principles (2018), systems recording information about children (read in a secondary source)
#     - CRC Art. 3
#   limits: >-
#     Approval by a child-protection officer, with which such a record could be shown, comes with follow-up; until then
#     it is withheld always, missing children too, unless both countries switch the rule off by agreement. A record that
#     says nothing of an age, such as one of a stolen passport, is not taken for a minor's. Children whom an officer asks
#     about are not covered here.
package passerelle.rules["RU-21"]

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "The person is or may be under 18, so the record is not published. Ask your child-protection officer what may be done." if {
	not adult
}

# What is not known to be of an adult is withheld. The gateway finds the youngest possible age.
adult if {
	input.record.minor == false
	input.record.protection_status != "minor"
}
