//! Names as old gateways write them: bytes that are no UTF-8, shown as the Cyrillic they most likely are.

use std::borrow::Cow;

/// Text of a header value. What is no UTF-8 is read as CP1251 or KOI8-R, whichever makes more lower-case letters of it; ASCII
/// stays as it is in both, so URIs, tags and parameters can be read from the text all the same.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let koi8 = looks_like_koi8(bytes);
            Cow::Owned(bytes.iter().map(|byte| legacy(*byte, koi8)).collect())
        }
    }
}

/// Lower-case letters stand at E0–FF in CP1251 and at C0–DF in KOI8-R, and most letters of a name are lower-case.
fn looks_like_koi8(bytes: &[u8]) -> bool {
    let count = |range: std::ops::RangeInclusive<u8>| bytes.iter().filter(|byte| range.contains(byte)).count();
    count(0xC0..=0xDF) > count(0xE0..=0xFF)
}

fn legacy(byte: u8, koi8: bool) -> char {
    /// KOI8-R from C0 on, in the order of the Latin letters they resemble.
    const KOI8_LOWER: [char; 32] = [
        'ю', 'а', 'б', 'ц', 'д', 'е', 'ф', 'г', 'х', 'и', 'й', 'к', 'л', 'м', 'н', 'о', 'п', 'я', 'р', 'с', 'т', 'у', 'ж', 'в',
        'ь', 'ы', 'з', 'ш', 'э', 'щ', 'ч', 'ъ',
    ];
    let letter = |byte: u8| KOI8_LOWER.get(usize::from(byte & 0x1F)).copied();
    let found = match (byte, koi8) {
        (0x00..=0x7F, _) => Some(char::from(byte)),
        (0xC0..=0xDF, true) => letter(byte),
        (0xE0..=0xFF, true) => letter(byte).and_then(|lower| lower.to_uppercase().next()),
        (0xA3, true) | (0xB8, false) => Some('ё'),
        (0xB3, true) | (0xA8, false) => Some('Ё'),
        (0xC0..=0xFF, false) => char::from_u32(0x0410 + u32::from(byte - 0xC0)),
        (0xAB, false) => Some('«'),
        (0xBB, false) => Some('»'),
        (0xB9, false) => Some('№'),
        (0x80..=0xBF, _) => None,
    };
    found.unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cyrillic_name_is_read_in_any_of_three_encodings() {
        assert_eq!(shown("Иванова <sip:1>".as_bytes()), "Иванова <sip:1>");
        assert_eq!(shown(b"\xc8\xe2\xe0\xed\xee\xe2\xe0 <sip:1>"), "Иванова <sip:1>");
        assert_eq!(shown(b"\xe9\xd7\xc1\xce\xcf\xd7\xc1 <sip:1>"), "Иванова <sip:1>");
    }
}
