//! Personal data, as types that print masked: a phone, a name or a policy number cannot reach a log by accident.
//!
//! `expose()` gives the bare text; whoever calls it writes to a table, a wire or a screen that may hold it.

use crate::ids::PersonId;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// A phone number in one form: `+7` and ten digits for Russian numbers, else the digits as they came (short numbers, extensions).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phone(String);

impl Phone {
    /// Longest number taken (E.164 has 15 digits; the rest is room for prefixes).
    pub const MAX_DIGITS: usize = 20;

    /// Reads `+7…`, `8…`, `7…` with ten more digits as one Russian number. `area` (a code such as `3852`) completes a local number
    /// to ten digits. `None` for what is no number: anonymous callers, names, too many digits.
    pub fn parse(text: &str, area: Option<&str>) -> Option<Self> {
        let text = text.strip_prefix("tel:").unwrap_or(text).trim();
        let plus = text.starts_with('+');
        let mut digits = String::new();
        for c in text.chars() {
            match c {
                '0'..='9' => digits.push(c),
                '+' | '-' | ' ' | '(' | ')' | '.' => {}
                _ => return None,
            }
        }
        if digits.is_empty() || digits.len() > Self::MAX_DIGITS {
            return None;
        }
        let russian = match digits.len() {
            11 if digits.starts_with('7') || (digits.starts_with('8') && !plus) => Some(digits[1..].to_owned()),
            10 if !plus => Some(digits.clone()),
            5..=7 if !plus => area.filter(|area| area.len() + digits.len() == 10).map(|area| format!("{area}{digits}")),
            _ => None,
        };
        Some(Self(match russian {
            Some(ten) => format!("+7{ten}"),
            None if plus => format!("+{digits}"),
            None => digits,
        }))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a person can be called back under it: a full number, not a short code.
    pub fn is_dialable(&self) -> bool {
        self.0.starts_with('+') && self.0.len() >= 11
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(2);
        if self.0.len() < 6 {
            f.write_str("•••")
        } else {
            write!(f, "{}•••••••{}", &self.0[..2], &self.0[last..])
        }
    }
}
impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any other personal text: a name, an address, a policy number.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private(String);

impl Private {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}
impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("•••")
    }
}

/// The installation's secret that turns a phone number into a [`PersonId`]: HMAC-SHA-256 of the number, cut to a UUID (version 8,
/// RFC 9562 §5.8). The same person has the same id without a look into any table, and the id alone tells nobody the number.
#[derive(Clone)]
pub struct PersonKey([u8; 32]);

impl PersonKey {
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    pub fn person(&self, phone: &Phone) -> PersonId {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(phone.0.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        PersonId(uuid::Builder::from_custom_bytes(half).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_citizen_has_one_number_however_it_was_written() {
        for text in ["+79130000012", "89130000012", "79130000012", "9130000012", "tel:+7 (913) 000-00-12"] {
            assert_eq!(Phone::parse(text, None).unwrap().expose(), "+79130000012", "{text}");
        }
        assert_eq!(Phone::parse("627766", Some("3852")).unwrap().expose(), "+73852627766");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["anonymous", "", "sip:12", "12345678901234567890123", "+"] {
            assert_eq!(Phone::parse(text, None), None, "{text}");
        }
    }

    #[test]
    fn a_phone_prints_masked() {
        let phone = Phone::parse("+79130000012", None).unwrap();
        assert_eq!(format!("{phone} {phone:?}"), "+7•••••••12 +7•••••••12");
        assert_eq!(Phone::parse("122", None).unwrap().to_string(), "•••");
    }

    #[test]
    fn a_person_is_the_same_for_one_key_and_another_for_another() {
        let phone = Phone::parse("+79130000012", None).unwrap();
        let (a, b) = (PersonKey::new([1; 32]), PersonKey::new([2; 32]));
        assert_eq!(a.person(&phone), a.person(&phone));
        assert_ne!(a.person(&phone), b.person(&phone));
    }
}
