//! Numbers as Russian speech: the place in the queue and the expected wait, put together from pre-rendered words.
//!
//! Cardinals stand in the genitive feminine, since they are only said after «около» and before «минут»: «около двадцати одной
//! минуты». Ordinals stand in the nominative masculine: «Вы двадцать первый в очереди».

use crate::ids::PromptId;
use std::time::Duration;

/// Places up to here are said as ordinals; a caller further back wants to know how many are before them.
const LAST_ORDINAL: u32 = 99;
/// From here on minutes promise a precision that nobody has.
const LONGEST_MINUTES: u64 = 60;

/// «Вы третий в очереди. Ожидание около двух минут.» Position 1 is the next to be served; no wait, no word about it.
pub fn place(position: u32, wait: Option<Duration>, fewer_agents: bool) -> Vec<PromptId> {
    let mut words = match position {
        0..=LAST_ORDINAL => {
            let mut words = vec!["place-you".to_owned()];
            words.extend(ordinal(position.max(1)));
            words.push("place-in-queue".to_owned());
            words
        }
        _ => vec!["place-more-than".to_owned(), genitive_word(round_number_below(position - 1)), "place-people".to_owned()],
    };
    words.extend(fewer_agents.then(|| "wait-fewer-agents".to_owned()));
    words.extend(wait.map(minutes).unwrap_or_default());
    words.iter().map(|word| PromptId::from(word.as_str())).collect()
}

/// «Мы перезвоним вам в течение двух часов.» Rounded up, for the promise is kept by its end.
pub fn within(time: Duration) -> Vec<PromptId> {
    let (minutes, hours) = (time.as_secs().div_ceil(60).max(1), time.as_secs().div_ceil(3600));
    let words = match (minutes, hours) {
        (..60, _) => {
            let mut words = vec!["within".to_owned()];
            words.extend(genitive(u32::try_from(minutes).unwrap_or(1)));
            words.push(minute_word(minutes).to_owned());
            words
        }
        (_, 1) => vec!["within-hour".to_owned()],
        (_, 2..=12) => vec!["within".to_owned(), genitive_word(u32::try_from(hours).unwrap_or(1)), "within-hours".to_owned()],
        (_, ..=24) => vec!["within-day".to_owned()],
        _ => vec!["within-days".to_owned()],
    };
    words.iter().map(|word| PromptId::from(word.as_str())).collect()
}

/// Every prompt that [`within`] may say and [`place`] may not.
pub fn within_prompts() -> impl Iterator<Item = PromptId> {
    ["within", "within-hour", "within-hours", "within-day", "within-days"].into_iter().map(PromptId::from)
}

/// Every prompt that [`place`] may say.
pub fn prompts() -> impl Iterator<Item = PromptId> {
    let phrases = [
        "place-you",
        "place-in-queue",
        "place-more-than",
        "place-people",
        "wait-fewer-agents",
        "wait-about",
        "wait-less-than-minute",
        "wait-more-than-hour",
        "wait-minute",
        "wait-minutes",
    ];
    let tens = || (20..=90).step_by(10);
    let ordinals = (1..=19).chain(tens()).map(ordinal_word);
    let cardinals = (20..=90).step_by(10).map(cardinal_word);
    let genitives = (1..=19).chain(tens()).chain((100..=1000).step_by(100)).map(genitive_word);
    phrases
        .map(str::to_owned)
        .into_iter()
        .chain(ordinals)
        .chain(cardinals)
        .chain(genitives)
        .map(|word| PromptId::from(word.as_str()))
}

/// The wait is rounded up: who is told two minutes should not wait three.
fn minutes(wait: Duration) -> Vec<String> {
    let whole = wait.as_millis().div_ceil(60_000) as u64;
    if wait < Duration::from_secs(60) {
        return vec!["wait-less-than-minute".to_owned()];
    }
    if whole > LONGEST_MINUTES {
        return vec!["wait-more-than-hour".to_owned()];
    }
    let mut words = vec!["wait-about".to_owned()];
    words.extend(genitive(u32::try_from(whole).unwrap_or(1)));
    words.push(minute_word(whole).to_owned());
    words
}

/// The genitive knows two forms only: singular after a number that ends in one («двадцати одной минуты», but «одиннадцати
/// минут»), plural after all others.
fn minute_word(count: u64) -> &'static str {
    if count % 10 == 1 && count % 100 != 11 { "wait-minute" } else { "wait-minutes" }
}

/// «двадцать первый»: only the last word is an ordinal, the tens before it stay a plain cardinal.
fn ordinal(number: u32) -> Vec<String> {
    match (number / 10 * 10, number % 10) {
        (20.., ones @ 1..) => vec![cardinal_word(number / 10 * 10), ordinal_word(ones)],
        _ => vec![ordinal_word(number)],
    }
}

/// «двадцати одной»: every word of the number takes the case.
fn genitive(number: u32) -> Vec<String> {
    match (number / 10 * 10, number % 10) {
        (tens @ 20.., ones @ 1..) => vec![genitive_word(tens), genitive_word(ones)],
        _ => vec![genitive_word(number)],
    }
}

/// The largest number with a word of its own that is less than `count`.
fn round_number_below(count: u32) -> u32 {
    match count {
        ..=100 => 90,
        101..=1000 => (count - 1) / 100 * 100,
        _ => 1000,
    }
}

fn ordinal_word(number: u32) -> String {
    format!("ordinal-{number}")
}

fn cardinal_word(number: u32) -> String {
    format!("number-{number}")
}

fn genitive_word(number: u32) -> String {
    format!("about-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn places_are_ordinals_and_waits_stand_in_the_genitive() {
        for (position, seconds, said) in [
            (1, None, "Вы первый в очереди"),
            (3, Some(120), "Вы третий в очереди ожидание около двух минут"),
            (11, Some(60), "Вы одиннадцатый в очереди ожидание около одной минуты"),
            (20, Some(61), "Вы двадцатый в очереди ожидание около двух минут"),
            (21, Some(21 * 60), "Вы двадцать первый в очереди ожидание около двадцати одной минуты"),
            (40, Some(5 * 60), "Вы сороковой в очереди ожидание около пяти минут"),
            (47, Some(11 * 60), "Вы сорок седьмой в очереди ожидание около одиннадцати минут"),
            (90, Some(42 * 60), "Вы девяностый в очереди ожидание около сорока двух минут"),
            (99, Some(59), "Вы девяносто девятый в очереди ожидание меньше минуты"),
            (12, Some(3601), "Вы двенадцатый в очереди ожидание больше часа"),
            (2, Some(3600), "Вы второй в очереди ожидание около шестидесяти минут"),
            (100, None, "Вы в очереди перед вами более девяноста человек"),
            (102, None, "Вы в очереди перед вами более ста человек"),
            (202, None, "Вы в очереди перед вами более двухсот человек"),
            (1500, None, "Вы в очереди перед вами более тысячи человек"),
            (u32::MAX, None, "Вы в очереди перед вами более тысячи человек"),
        ] {
            assert_eq!(said_aloud(&place(position, seconds.map(Duration::from_secs), false)), said);
        }
    }

    #[test]
    fn what_is_said_is_never_below_what_was_promised() {
        for (millis, said) in [(59_999, "меньше минуты"), (60_000, "одной"), (60_001, "двух"), (120_900, "трёх")]
        {
            let said_of_it = said_aloud(&place(3, Some(Duration::from_millis(millis)), false));
            assert!(said_of_it.contains(said), "{millis} ms: {said_of_it}");
        }
        let longer = said_aloud(&place(3, Some(Duration::from_secs(240)), true));
        assert_eq!(longer, "Вы третий в очереди операторов стало меньше ожидание около четырёх минут");
    }

    #[test]
    fn a_promise_stands_in_the_genitive_and_is_rounded_up() {
        for (seconds, said) in [
            (600, "Мы перезвоним вам в течение десяти минут"),
            (21 * 60 - 30, "Мы перезвоним вам в течение двадцати одной минуты"),
            (3600, "Мы перезвоним вам в течение часа"),
            (3601, "Мы перезвоним вам в течение двух часов"),
            (12 * 3600, "Мы перезвоним вам в течение двенадцати часов"),
            (13 * 3600, "Мы перезвоним вам в течение суток"),
            (25 * 3600, "Мы перезвоним вам в течение нескольких дней"),
        ] {
            assert_eq!(said_aloud(&within(Duration::from_secs(seconds))), said);
        }
    }

    #[test]
    fn every_number_has_its_words() {
        let all: Vec<_> = prompts().chain(within_prompts()).collect();
        for position in 1..1200 {
            for prompt in place(position, Some(Duration::from_secs(u64::from(position) * 10)), true) {
                assert!(all.contains(&prompt), "{prompt}");
            }
            for prompt in within(Duration::from_secs(u64::from(position) * 60)) {
                assert!(all.contains(&prompt), "{prompt}");
            }
        }
    }

    fn said_aloud(prompts: &[PromptId]) -> String {
        let texts: BTreeMap<PromptId, String> = texts();
        let words: Vec<_> = prompts.iter().map(|prompt| texts[prompt].trim_end_matches('.').replace(',', "")).collect();
        words.join(" ")
    }

    fn texts() -> BTreeMap<PromptId, String> {
        #[derive(serde::Deserialize)]
        struct File {
            texts: BTreeMap<PromptId, String>,
        }
        serde_saphyr::from_str::<File>(include_str!("../../ivr-scripts/prompts/texts.yaml")).unwrap().texts
    }
}
