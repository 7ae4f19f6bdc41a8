# METADATA
# title: Asylum data never go to the country feared
# description: |
#   A record of a person who seeks or has international protection is published to no other country, so that not even a
#   hit tells where the person is. A record that is protected for another reason is not published to the country of
#   origin, nor to anybody while that country is not known. No agreement can switch this off.
# custom:
#   doors: [publish]
#   regimes: [EU-Eurodac, 1951 Convention]
#   citation: Eurodac Reg. 2024/1358 Art. 49(1) (read in Spanish and Romanian) and Art. 50(5)
#   verified: true
#   limits: >-
#     The rule knows what the list says: a person whose protection the list does not name is not protected. A protection
#     that begins later takes effect with the next list version, and an old copy keeps the tags until the epoch's key is
#     destroyed. Dependent territories count as countries of their own. The legal officer is not alerted, because every
#     night would alert again; the number of records withheld is in the report of the publication.
package passerelle.rules["RU-23"]

doors := rego.metadata.chain()[1].annotations.custom.doors

# Not even the refusal may be told.
withhold := true

unprotected if input.record.protection_status in {"", "none"}

# Everything that is not in these two lists is international protection: asylum, refugee, subsidiary, and words that
# nobody agreed on, such as "asylum seeker".
otherwise_protected if input.record.protection_status in {"minor", "court"}

deny contains "The person seeks or has international protection, so the record goes to no other country. Leave it unpublished." if {
	not unprotected
	not otherwise_protected
}

deny contains "The person is protected, and the country of origin is not known. Enter it in the list, as a code of three letters." if {
	otherwise_protected
	not known_origin
}

known_origin if country(input.record.country_of_origin)

deny contains "The person is protected, and the asking country is the country of origin. Leave the record unpublished." if {
	otherwise_protected
	known_origin
	not another_country
}

another_country if {
	country(input.peer.country)
	input.peer.country != input.record.country_of_origin
}

country(code) if {
	is_string(code)
	regex.match(`^[A-Z]{3}$`, code)
}
