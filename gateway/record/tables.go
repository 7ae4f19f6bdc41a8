package record

// Two code points that need more than a table.
const (
	shadda     = '\u0651' // doubles the letter before it
	tehMarbuta = '\u0629' // XTA, at the end of a name component XAH
)

// bareLetters are the letters that ICAO Doc 9303-3, Section 6, Table A expands,
// and the single letter that it allows besides, or that lists without diacritics
// have in its place.
var bareLetters = map[rune]string{'Ä': "A", 'Å': "A", 'Ö': "O", 'Ø': "O", 'Ü': "U"}

// table gives the transliteration of a letter, in upper case where its script has
// case. It holds ICAO Doc 9303-3, Section 6: of Table A what is more than the
// letter without diacritics, Table B (Cyrillic) and Table C (Arabic) whole; then
// letters of languages that the standard leaves out, from the passports of their
// States; then Georgian and Hebrew.
var table = map[rune]string{
	// Table A, Latin.
	'Ä': "AE", 'Å': "AA", 'Æ': "AE", 'Ð': "D", 'Ö': "OE", 'Ø': "OE", 'Ü': "UE", 'Þ': "TH", 'Đ': "D", 'Ħ': "H",
	'ı': "I", 'Ĳ': "IJ", 'ĸ': "K", 'Ŀ': "L", 'Ł': "L", 'Ŋ': "N", 'Œ': "OE", 'Ŧ': "T", 'ẞ': "SS", 'ß': "SS",
	// Latin letters of other languages.
	'Ə': "E", 'Ɓ': "B", 'Ɗ': "D", 'Ɖ': "D", 'Ƙ': "K", 'Ɛ': "E", 'Ɔ': "O", 'Ɣ': "G", 'Ƴ': "Y", 'Ǥ': "G", 'Ɲ': "N",
	'Ƒ': "F", 'Ʋ': "V", 'Ʒ': "Z", 'Ɨ': "I", 'Ʉ': "U", 'Ɩ': "I", 'Ʊ': "U", 'Ƶ': "Z", 'Ƀ': "B", 'Ȼ': "C", 'Ɇ': "E",
	'Ɉ': "J", 'Ɍ': "R", 'Ɏ': "Y",

	// Table B, Cyrillic.
	'А': "A", 'Б': "B", 'В': "V", 'Г': "G", 'Д': "D", 'Е': "E", 'Ё': "E", 'Ж': "ZH", 'З': "Z", 'И': "I", 'І': "I",
	'Й': "I", 'К': "K", 'Л': "L", 'М': "M", 'Н': "N", 'О': "O", 'П': "P", 'Р': "R", 'С': "S", 'Т': "T", 'У': "U",
	'Ф': "F", 'Х': "KH", 'Ц': "TS", 'Ч': "CH", 'Ш': "SH", 'Щ': "SHCH", 'Ы': "Y", 'Ъ': "IE", 'Ь': "", 'Э': "E",
	'Ю': "IU", 'Я': "IA", 'Ѵ': "Y", 'Ґ': "G", 'Ў': "U", 'Ѫ': "U", 'Ѓ': "G", 'Ђ': "D", 'Ѕ': "DZ", 'Ј': "J", 'Ќ': "K",
	'Љ': "LJ", 'Њ': "NJ", 'Ћ': "C", 'Џ': "DZ", 'Є': "IE", 'Ї': "I",
	// Cyrillic letters of Central Asia, Mongolia and the Caucasus.
	'Ә': "A", 'Ғ': "G", 'Қ': "K", 'Ң': "N", 'Ө': "O", 'Ұ': "U", 'Ү': "U", 'Һ': "H", 'Ҳ': "H", 'Ҷ': "J", 'Ҝ': "G",
	'Ҹ': "J", 'Җ': "ZH", 'Ӏ': "",

	// Table C, Arabic. Vowel marks are not encoded.
	'\u0621': "XE", '\u0622': "XAA", '\u0623': "XAE", '\u0624': "U", '\u0625': "I", '\u0626': "XI", '\u0627': "A",
	'\u0628': "B", '\u062a': "T", '\u062b': "XTH", '\u062c': "J", '\u062d': "XH", '\u062e': "XKH", '\u062f': "D",
	'\u0630': "XDH", '\u0631': "R", '\u0632': "Z", '\u0633': "S", '\u0634': "XSH", '\u0635': "XSS", '\u0636': "XDZ",
	'\u0637': "XTT", '\u0638': "XZZ", '\u0639': "E", '\u063a': "G", '\u0641': "F", '\u0642': "Q", '\u0643': "K",
	'\u0644': "L", '\u0645': "M", '\u0646': "N", '\u0647': "H", '\u0648': "W", '\u0649': "XAY", '\u064a': "Y",
	'\u0671': "XXA", '\u0679': "XXT", '\u067c': "XRT", '\u067e': "P", '\u0681': "XKE", '\u0685': "XXH", '\u0686': "XC",
	'\u0688': "XXD", '\u0689': "XDR", '\u0691': "XXR", '\u0693': "XRR", '\u0696': "XRX", '\u0698': "XJ", '\u069a': "XXS",
	'\u069c': "", '\u06a2': "", '\u06a7': "", '\u06a8': "",
	'\u06a9': "XKK", '\u06ab': "XXK", '\u06ad': "XNG", '\u06af': "XGG", '\u06ba': "XNN", '\u06bc': "XXN",
	'\u06be': "XDO", '\u06c0': "XYH", '\u06c1': "XXG", '\u06c2': "XGE", '\u06c3': "XTG", '\u06cc': "XYA",
	'\u06cd': "XXY", '\u06d0': "Y", '\u06d2': "XYB", '\u06d3': "XBE",

	// Georgian, the national system of 2002.
	'ა': "A", 'ბ': "B", 'გ': "G", 'დ': "D", 'ე': "E", 'ვ': "V", 'ზ': "Z", 'თ': "T", 'ი': "I", 'კ': "K", 'ლ': "L",
	'მ': "M", 'ნ': "N", 'ო': "O", 'პ': "P", 'ჟ': "ZH", 'რ': "R", 'ს': "S", 'ტ': "T", 'უ': "U", 'ფ': "P", 'ქ': "K",
	'ღ': "GH", 'ყ': "Q", 'შ': "SH", 'ჩ': "CH", 'ც': "TS", 'ძ': "DZ", 'წ': "TS", 'ჭ': "CH", 'ხ': "KH", 'ჯ': "J",
	'ჰ': "H",

	// Hebrew, consonants only.
	'א': "A", 'ב': "B", 'ג': "G", 'ד': "D", 'ה': "H", 'ו': "V", 'ז': "Z", 'ח': "H", 'ט': "T", 'י': "Y", 'ך': "K",
	'כ': "K", 'ל': "L", 'ם': "M", 'מ': "M", 'ן': "N", 'נ': "N", 'ס': "S", 'ע': "A", 'ף': "P", 'פ': "P", 'ץ': "TS",
	'צ': "TS", 'ק': "K", 'ר': "R", 'ש': "SH", 'ת': "T", 'װ': "V", 'ױ': "OY", 'ײ': "Y",
}

// greekTable gives the transliteration of a Greek letter that is part of no
// digraph, ELOT 743.
var greekTable = map[rune]string{
	'Α': "A", 'Β': "V", 'Γ': "G", 'Δ': "D", 'Ε': "E", 'Ζ': "Z", 'Η': "I", 'Θ': "TH", 'Ι': "I", 'Κ': "K", 'Λ': "L",
	'Μ': "M", 'Ν': "N", 'Ξ': "X", 'Ο': "O", 'Π': "P", 'Ρ': "R", 'Σ': "S", 'Τ': "T", 'Υ': "Y", 'Φ': "F", 'Χ': "CH",
	'Ψ': "PS", 'Ω': "O",
}
