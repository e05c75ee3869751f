//! Scripts that must be refused, each with the line and the remedy that its author needs.

use dozvon::ivr::{Known, Script, check_scripts};
use std::collections::BTreeSet;

const GOOD: &str = r#"title: { ru: Пример, en: Example }
start: hours
nodes:
  hours: { hours: { calendar: main, open: notice, closed: closed } }
  notice: { notice: { say: [hello], next: menu } }
  menu: { menu: { say: [choose], keys: { "1": line, "2": bye, "9": ambulance }, operator: line } }
  line: { queue: { queue: main, record: true, music: music, keys: { "9": ambulance }, repeat: "1", overflow: busy } }
  ambulance: { transfer: { route: "103", music: music, failed: bye } }
  bye: { goto: { node: closed } }
  busy: { hang_up: { outcome: blocked } }
  closed: { hang_up: { say: [hello], outcome: closed } }
"#;

#[test]
fn a_good_script_is_taken_and_its_version_is_that_of_its_text() {
    let script = Script::read("example", GOOD, &known()).unwrap_or_else(|errors| panic!("{}", print(&errors)));
    assert_eq!(script.id.as_str(), "example");
    assert_eq!(script.version, crc32fast::hash(GOOD.as_bytes()));
    assert_ne!(script.version, Script::read("example", &format!("{GOOD}\n"), &known()).unwrap().version);
}

#[test]
fn each_fault_is_told_with_its_line_and_its_remedy() {
    for (written, instead, told) in [
        (
            "next: menu",
            "next: menue",
            "5: there is no node `menue`; the nodes are: ambulance, busy, bye, closed, hours, line, menu, notice",
        ),
        ("start: hours", "start: begin", "2: there is no node `begin`"),
        ("  bye:", "  spare: { goto: { node: bye } }\n  bye:", "9: no way leads to the node `spare`; let a node lead to it"),
        ("overflow: busy", "overflow: line", "7: the robot could go round `line → line` for ever"),
        ("overflow: busy", "overflow: notice", "for ever without hearing the caller"),
        ("say: [choose]", "say: []", "6: `menu` has nothing to say"),
        ("say: [hello], next", "say: [], next", "5: `notice` has nothing to say"),
        (
            "operator: line",
            "operator: busy",
            "6: a caller who errs in `menu` could be hung up on at `busy`; let `operator` lead to a queue",
        ),
        ("operator: line", "operator: hours", "6: a caller who errs in `menu` could be hung up on at `closed`"),
        ("operator: line", "operator: menu", "6: a caller who errs in `menu` would be asked again at `menu`"),
        (r#"keys: { "1": line, "2": bye, "9": ambulance }, op"#, "keys: {}, op", "6: the menu `menu` has no keys"),
        (r#""1": line"#, r#"один: line"#, "6: `один` cannot be pressed; write \"0\"…\"9\", \"*\" or \"#\""),
        (r#""1": line"#, r#""1234567": line"#, "6: `1234567` cannot be pressed"),
        (r#""1": line"#, r#""1": line, "101": bye"#, "6: `101` can never be dialled, for `1` acts at once"),
        (
            r#"{ "9": ambulance }"#,
            r#"{ "99": ambulance }"#,
            "7: `99` cannot be pressed; write \"0\"…\"9\", \"*\" or \"#\", here at most 1 of them",
        ),
        (r#"repeat: "1""#, r#"repeat: "A""#, "7: `A` cannot be pressed"),
        ("operator: line", "operator: line, tries: 0", "6: `tries` is 0; choose 1…9"),
        ("operator: line", "operator: line, timeout_s: 61", "6: `timeout_s` is 61; choose 1…60"),
        (
            r#"{ "9": ambulance }"#,
            r#"{ "9": notice }"#,
            "7: the key `9` leads from a queue to a notice; from a queue a key may lead to",
        ),
        (
            r#"repeat: "1","#,
            r#"repeat: "1", callback: busy,"#,
            "7: `callback` leads to `busy`, where nobody is promised a call; let it lead to a callback node",
        ),
        (
            "goto: { node: closed }",
            "callback: { book: place }",
            "9: a caller can get to `bye` without having been in a queue; name its `queue` and where who is `refused` goes",
        ),
        (
            "goto: { node: closed }",
            "callback: { book: later, queue: mein, refused: line }",
            "9: the configuration has no queue `mein`; add it there",
        ),
        ("start: hours", "start: hours\nwelcome_back: [hallo]", "3: there is no WAV for the prompt `hallo`"),
        ("open: notice", "open: menu", "7: `line` records, but a caller can get here without having heard a `notice`"),
        ("outcome: blocked", "outcome: served", "10: `served` is not for a script to say; use one of: self_served, announced"),
        ("start: hours", "early: true\nstart: hours", "7: an early announcement cannot contain a menu"),
        ("say: [choose]", "say: [chose]", "6: there is no WAV for the prompt `chose`; write its text and render it"),
        ("music: music, failed", "music: musik, failed", "8: there is no WAV for the prompt `musik`"),
        ("queue: main", "queue: mein", "7: the configuration has no queue `mein`; add it there, or use one of: main"),
        (r#"route: "103""#, r#"route: "130""#, "8: the configuration has no route `130`; add it there, or use one of: 103"),
        (
            "calendar: main",
            "calendar: holidays",
            "4: the configuration has no calendar `holidays`; add it there, or use one of: main",
        ),
        ("goto: { node: closed }", "collect: { digits: 4 }", "9: this is no script: unknown variant `collect`"),
        ("goto: { node: closed }", "goto: { node: closed, next: busy }", "9: this is no script: unknown field `next`"),
        (", operator: line", "", "missing field `operator`"),
        ("  busy:", "  bye:", "duplicate"),
        ("title:", "\ttitle:", "1: this is no script"),
        ("outcome: blocked", "outcome: vanished", "unknown variant `vanished`"),
    ] {
        let text = GOOD.replacen(written, instead, 1);
        assert_ne!(text, GOOD, "{written}");
        let errors = print(&check_scripts([("example", text.as_str())], &known()).expect_err(instead));
        let wanted =
            if told.starts_with(|c: char| c.is_ascii_digit()) { format!("example.yaml:{told}") } else { told.to_owned() };
        assert!(errors.contains(&wanted), "{instead}\nwanted: {wanted}\ntold:\n{errors}");
    }
}

#[test]
fn all_faults_of_all_scripts_are_told_at_once() {
    let bad = GOOD
        .replace("queue: main", "queue: mein")
        .replace("say: [hello]", "say: [hallo]")
        .replace("outcome: blocked", "outcome: cut");
    let errors = check_scripts([("a", bad.as_str()), ("b", GOOD), ("c", "nodes: 5")], &known()).unwrap_err();
    let lines: Vec<_> = errors.iter().map(|error| format!("{}:{}", error.file, error.line)).collect();
    assert_eq!(lines, ["a.yaml:5", "a.yaml:7", "a.yaml:10", "a.yaml:11", "c.yaml:1"], "{}", print(&errors));
}

#[test]
fn a_queue_needs_the_words_that_tell_the_place() {
    let mut known = known();
    known.prompts.remove(&"ordinal-7".into());
    let errors = check_scripts([("example", GOOD)], &known).unwrap_err();
    assert_eq!(
        print(&errors),
        "example.yaml:0: there is no WAV for the prompt `ordinal-7`; write its text and render it, or correct the name\n"
    );
}

#[test]
fn a_queue_whose_list_leads_to_a_callback_needs_something_to_offer() {
    let known = Known { calling_back: ["main".into()].into(), ..known() };
    let errors = check_scripts([("example", GOOD)], &known).unwrap_err();
    assert!(
        print(&errors).starts_with(
            "example.yaml:7: the overflow list of `main` leads to a callback, and `line` to none; add `callback: …`"
        )
    );
    let text =
        GOOD.replace(r#"repeat: "1","#, r#"repeat: "1", callback: call-me,"#) + "  call-me: { callback: { book: later } }\n";
    let known = Known { prompts: dozvon::ivr::speak::within_prompts().chain(known.prompts.clone()).collect(), ..known };
    check_scripts([("example", text.as_str())], &known).unwrap_or_else(|errors| panic!("{}", print(&errors)));
}

/// Editors trust the schema, so it names just the kinds and fields that the engine reads.
#[test]
fn the_schema_for_editors_names_the_fields_that_are_read() {
    let schema: serde_json::Value = serde_json::from_str(include_str!("../ivr-scripts/script.schema.json")).unwrap();
    let names = |of: &serde_json::Value| of["properties"].as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let node = &schema["$defs"]["node"];
    let read = |text: String| {
        let told = print(&Script::read("example", &text, &known()).unwrap_err());
        let fields =
            told.split("expected ").nth(1).and_then(|rest| rest.split(" at line").next()).unwrap().replace("one of ", "");
        fields.split(", ").map(|field| field.trim_matches('`').to_owned()).collect::<BTreeSet<String>>()
    };
    assert_eq!(names(&schema), read("nothing: 1".to_owned()));
    assert_eq!(names(node), read(GOOD.replace("goto: { node: closed }", "nothing: {}")));
    for kind in names(node) {
        let fields = read(GOOD.replace("goto: { node: closed }", &format!("{kind}: {{ nothing: 1 }}")));
        assert_eq!(names(&node["properties"][&kind]), fields, "{kind}");
    }
}

fn known() -> Known {
    let words = dozvon::ivr::speak::prompts()
        .chain(dozvon::ivr::speak::within_prompts())
        .chain(["hello", "choose", "music"].map(Into::into));
    Known {
        prompts: words.collect(),
        queues: ["main".into()].into(),
        routes: ["103".into()].into(),
        calendars: ["main".to_owned()].into(),
        calling_back: BTreeSet::new(),
    }
}

fn print(errors: &[dozvon::ivr::ScriptError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}
