package record

import (
	"strings"
	"sync"
)

// CountryCode returns the code of ICAO Doc 9303-3, Section 5, for a State, an
// organisation or a special status, as it stands in a machine readable zone: that
// is alpha-3 of ISO 3166-1, but D for Germany, and codes that ISO does not have,
// such as GBD, UNO, EUE, RKS, XAA (stateless) or XXB (refugee).
//
// It accepts that code, alpha-2, alpha-3, and English names as the United Nations
// and others write them, in any case. Alpha-2 of Namibia is NA: a source that
// writes "na" for "not available" must not pass it on.
//
// QMA to QZZ are codes themselves: ISO leaves them to users, and the fictional
// countries of tests and examples have them. UTO is Utopia, the specimen of ICAO.
//
// ok is false, and icao empty, for everything else. XXX, unspecified, is a code.
func CountryCode(s string) (icao string, ok bool) {
	s = strings.Trim(s, "< \t\r\n")
	if n := len(s); n == 0 || n > 100 {
		return "", false
	}
	c := countries()
	if len(s) <= 3 {
		code := strings.ToUpper(s)
		if icao, ok := c.codes[code]; ok {
			return icao, true
		}
		if len(code) == 3 && code[0] == 'Q' && code[1] >= 'M' && code[1] <= 'Z' && code[2] >= 'A' && code[2] <= 'Z' {
			return code, true
		}
	}
	name, ok := countryName(s)
	if !ok {
		return "", false
	}
	icao, ok = c.names[name]
	return icao, ok
}

// countryName returns the form under which names are compared.
func countryName(s string) (string, bool) {
	name, ok := normalizeName(strings.NewReplacer("&", " and ", "St.", "Saint").Replace(s), true)
	return strings.TrimPrefix(name, "THE "), ok
}

type countryTables struct{ codes, names map[string]string }

// countries parses the list below, once.
var countries = sync.OnceValue(func() countryTables {
	c := countryTables{codes: make(map[string]string), names: make(map[string]string)}
	for line := range strings.Lines(countryList) {
		code, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		alpha2, names, _ := strings.Cut(rest, " ")
		c.codes[code] = code
		if alpha2 != "-" {
			c.codes[alpha2] = code
		}
		for name := range strings.SplitSeq(names, "|") {
			folded, ok := countryName(name)
			if was, twice := c.names[folded]; !ok || twice && was != code {
				panic("record: internal error: country name " + name)
			}
			c.names[folded] = code
		}
	}
	// Codes in use that are not those of ICAO: ISO for Germany, the European Union
	// for the United Kingdom and Greece, and codes since replaced.
	for alias, code := range map[string]string{
		"DEU": "D", "UK": "GBR", "EL": "GRC", "ROM": "ROU", "ZAR": "COD", "TMP": "TLS", "BUR": "MMR", "XKX": "RKS",
	} {
		c.codes[alias] = code
	}
	return c
})

// countryList has one State a line: code of ICAO, alpha-2 or "-", names.
const countryList = `ABW AW Aruba
AFG AF Afghanistan|Islamic Republic of Afghanistan
AGO AO Angola
AIA AI Anguilla
ALA AX Åland Islands|Aland
ALB AL Albania
AND AD Andorra
ARE AE United Arab Emirates|UAE|Emirates
ARG AR Argentina
ARM AM Armenia
ASM AS American Samoa
ATA AQ Antarctica
ATF TF French Southern Territories
ATG AG Antigua & Barbuda|Antigua and Barbuda
AUS AU Australia
AUT AT Austria
AZE AZ Azerbaijan
BDI BI Burundi
BEL BE Belgium
BEN BJ Benin
BES BQ Caribbean Netherlands|Bonaire, Sint Eustatius and Saba
BFA BF Burkina Faso
BGD BD Bangladesh
BGR BG Bulgaria
BHR BH Bahrain
BHS BS Bahamas|The Bahamas
BIH BA Bosnia & Herzegovina|Bosnia and Herzegovina|Bosnia
BLM BL St. Barthélemy|Saint Barthélemy
BLR BY Belarus
BLZ BZ Belize
BMU BM Bermuda
BOL BO Bolivia|Bolivia (Plurinational State of)|Plurinational State of Bolivia
BRA BR Brazil
BRB BB Barbados
BRN BN Brunei|Brunei Darussalam
BTN BT Bhutan
BVT BV Bouvet Island
BWA BW Botswana
CAF CF Central African Republic|Central African Rep
CAN CA Canada
CCK CC Cocos (Keeling) Islands|Cocos Islands|Keeling Islands
CHE CH Switzerland
CHL CL Chile
CHN CN China|People's Republic of China
CIV CI Côte d’Ivoire|Ivory Coast
CMR CM Cameroon
COD CD Congo - Kinshasa|Democratic Republic of the Congo|Congo (Democratic Republic of the)|DR Congo|Congo, The Democratic Republic of the|Zaire
COG CG Congo - Brazzaville|Congo|Republic of the Congo
COK CK Cook Islands
COL CO Colombia
COM KM Comoros|Union of the Comoros
CPV CV Cape Verde|Cabo Verde
CRI CR Costa Rica
CUB CU Cuba
CUW CW Curaçao
CXR CX Christmas Island
CYM KY Cayman Islands
CYP CY Cyprus
CZE CZ Czechia|Czech Republic
D DE Germany|Federal Republic of Germany
DJI DJ Djibouti
DMA DM Dominica
DNK DK Denmark
DOM DO Dominican Republic
DZA DZ Algeria
ECU EC Ecuador
EGY EG Egypt
ERI ER Eritrea
ESH EH Western Sahara
ESP ES Spain
EST EE Estonia
ETH ET Ethiopia
FIN FI Finland
FJI FJ Fiji
FLK FK Falkland Islands|Falkland Islands (Malvinas)
FRA FR France|French Republic
FRO FO Faroe Islands
FSM FM Micronesia|Micronesia (Federated States of)|Federated States of Micronesia
GAB GA Gabon
GBR GB United Kingdom|United Kingdom of Great Britain and Northern Ireland|Great Britain|Britain|England|Scotland|Wales|Northern Ireland
GEO GE Georgia
GGY GG Guernsey
GHA GH Ghana
GIB GI Gibraltar
GIN GN Guinea
GLP GP Guadeloupe
GMB GM Gambia|The Gambia|Gambia (Republic of The)
GNB GW Guinea-Bissau|Guinea Bissau
GNQ GQ Equatorial Guinea
GRC GR Greece
GRD GD Grenada
GRL GL Greenland
GTM GT Guatemala
GUF GF French Guiana
GUM GU Guam
GUY GY Guyana
HKG HK Hong Kong SAR China|Hong Kong|Hong Kong, China|China, Hong Kong Special Administrative Region
HMD HM Heard & McDonald Islands|Heard and McDonald Islands|Heard Island and McDonald Islands
HND HN Honduras
HRV HR Croatia
HTI HT Haiti
HUN HU Hungary
IDN ID Indonesia
IMN IM Isle of Man
IND IN India
IOT IO British Indian Ocean Territory
IRL IE Ireland|Republic of Ireland
IRN IR Iran|Iran (Islamic Republic of)|Islamic Republic of Iran
IRQ IQ Iraq|Republic of Iraq
ISL IS Iceland
ISR IL Israel
ITA IT Italy
JAM JM Jamaica
JEY JE Jersey
JOR JO Jordan
JPN JP Japan
KAZ KZ Kazakhstan
KEN KE Kenya
KGZ KG Kyrgyzstan
KHM KH Cambodia
KIR KI Kiribati
KNA KN St. Kitts & Nevis|Saint Kitts and Nevis
KOR KR South Korea|Republic of Korea|Korea (Republic of)|Korea, South
KWT KW Kuwait
LAO LA Laos|Lao People's Democratic Republic|Lao PDR
LBN LB Lebanon
LBR LR Liberia
LBY LY Libya|Libyan Arab Jamahiriya|State of Libya
LCA LC St. Lucia|Saint Lucia
LIE LI Liechtenstein
LKA LK Sri Lanka
LSO LS Lesotho
LTU LT Lithuania
LUX LU Luxembourg
LVA LV Latvia
MAC MO Macau SAR China|Macao|Macau|China, Macao Special Administrative Region
MAF MF St. Martin|Saint Martin (French part)|Saint Martin
MAR MA Morocco
MCO MC Monaco
MDA MD Moldova|Republic of Moldova|Moldova (Republic of)
MDG MG Madagascar
MDV MV Maldives
MEX MX Mexico
MHL MH Marshall Islands
MKD MK Macedonia|North Macedonia|Republic of North Macedonia|the former Yugoslav Republic of Macedonia
MLI ML Mali
MLT MT Malta
MMR MM Myanmar (Burma)|Myanmar|Burma
MNE ME Montenegro
MNG MN Mongolia
MNP MP Northern Mariana Islands
MOZ MZ Mozambique
MRT MR Mauritania
MSR MS Montserrat
MTQ MQ Martinique
MUS MU Mauritius
MWI MW Malawi
MYS MY Malaysia
MYT YT Mayotte
NAM NA Namibia
NCL NC New Caledonia
NER NE Niger
NFK NF Norfolk Island
NGA NG Nigeria
NIC NI Nicaragua
NIU NU Niue
NLD NL Netherlands|The Netherlands|Netherlands (Kingdom of the)|Kingdom of the Netherlands|Holland
NOR NO Norway
NPL NP Nepal
NRU NR Nauru
NZL NZ New Zealand
OMN OM Oman
PAK PK Pakistan
PAN PA Panama
PCN PN Pitcairn Islands
PER PE Peru
PHL PH Philippines|The Philippines
PLW PW Palau
PNG PG Papua New Guinea
POL PL Poland
PRI PR Puerto Rico
PRK KP North Korea|Democratic People's Republic of Korea|Korea (Democratic People's Republic of)|DPRK|Korea, North
PRT PT Portugal
PRY PY Paraguay
PSE PS Palestinian Territories|State of Palestine|Palestine|Palestine, State of|Occupied Palestinian Territory
PYF PF French Polynesia
QAT QA Qatar
REU RE Réunion
ROU RO Romania
RUS RU Russia|Russian Federation
RWA RW Rwanda
SAU SA Saudi Arabia|Kingdom of Saudi Arabia
SDN SD Sudan|Republic of the Sudan|The Sudan
SEN SN Senegal
SGP SG Singapore
SGS GS South Georgia & South Sandwich Islands|South Georgia and the South Sandwich Islands
SHN SH St. Helena|Saint Helena|Saint Helena, Ascension and Tristan da Cunha
SJM SJ Svalbard & Jan Mayen|Svalbard and Jan Mayen
SLB SB Solomon Islands
SLE SL Sierra Leone
SLV SV El Salvador
SMR SM San Marino
SOM SO Somalia
SPM PM St. Pierre & Miquelon|Saint Pierre and Miquelon
SRB RS Serbia
SSD SS South Sudan|Republic of South Sudan
STP ST São Tomé & Príncipe|Sao Tome and Principe
SUR SR Suriname
SVK SK Slovakia
SVN SI Slovenia
SWE SE Sweden
SWZ SZ Swaziland|Eswatini
SXM SX Sint Maarten|Sint Maarten (Dutch part)
SYC SC Seychelles
SYR SY Syria|Syrian Arab Republic
TCA TC Turks & Caicos Islands|Turks and Caicos Islands
TCD TD Chad
TGO TG Togo
THA TH Thailand
TJK TJ Tajikistan
TKL TK Tokelau
TKM TM Turkmenistan
TLS TL Timor-Leste|East Timor
TON TO Tonga
TTO TT Trinidad & Tobago|Trinidad and Tobago|Trinidad
TUN TN Tunisia
TUR TR Turkey|Türkiye|Turkiye|Republic of Türkiye
TUV TV Tuvalu
TWN TW Taiwan|Taiwan, Province of China|Chinese Taipei
TZA TZ Tanzania|United Republic of Tanzania|Tanzania, United Republic of|Tanzania (United Republic of)
UGA UG Uganda
UKR UA Ukraine
UMI UM U.S. Outlying Islands|United States Minor Outlying Islands
URY UY Uruguay
USA US United States|United States of America|U.S.A.|U.S.
UZB UZ Uzbekistan
VAT VA Vatican City|Holy See|Vatican
VCT VC St. Vincent & Grenadines|Saint Vincent and the Grenadines
VEN VE Venezuela|Venezuela (Bolivarian Republic of)|Bolivarian Republic of Venezuela
VGB VG British Virgin Islands|Virgin Islands (British)
VIR VI U.S. Virgin Islands|Virgin Islands (U.S.)
VNM VN Vietnam|Viet Nam
VUT VU Vanuatu
WLF WF Wallis & Futuna|Wallis and Futuna
WSM WS Samoa
YEM YE Yemen|Republic of Yemen
ZAF ZA South Africa
ZMB ZM Zambia
ZWE ZW Zimbabwe
RKS XK Kosovo
SUN SU former Soviet Union|Soviet Union|USSR|Union of Soviet Socialist Republics
YUG YU Yugoslavia|former Yugoslavia
SCG - Serbia and Montenegro
CSK - Czechoslovakia
ANT AN Netherlands Antilles
NTZ NT Neutral Zone
GBD - British Overseas Territories Citizen
GBN - British National (Overseas)
GBO - British Overseas Citizen
GBP - British Protected Person
GBS - British Subject
EUE EU European Union
UNO UN United Nations|United Nations Organization
UNA - United Nations Specialized Agency
UNK - United Nations Interim Administration Mission in Kosovo
XBA - African Development Bank
XIM - African Export-Import Bank
XCC - Caribbean Community
XCE - Council of Europe
XCO - Common Market for Eastern and Southern Africa
XDC - Southern African Development Community
XEC - Economic Community of West African States
XES - Organization of Eastern Caribbean States
XMP - Parliamentary Assembly of the Mediterranean
XOM - Sovereign Military Order of Malta
XPO - International Criminal Police Organization|INTERPOL
XAA - Stateless|Stateless person
XXB - Refugee
XXC - Refugee other
XXX - Unspecified nationality|Unknown nationality
UTO - Utopia`
