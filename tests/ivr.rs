//! The robot played through: scenario files, random callers, and the prompts that are in the repository.

use dozvon::clock::Moment;
use dozvon::facts::{Fact, Outcome, QueueLeft, RouteEnd};
use dozvon::ids::*;
use dozvon::ivr::{Command, Event, Ivr, Known, Script, check_scripts};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn scenarios_hold() {
    let played = play_all_scenarios();
    assert!(played.scenarios >= 25, "only {} scenarios were played", played.scenarios);
}

#[test]
fn every_node_of_the_line_is_walked_by_some_scenario() {
    let walked = play_all_scenarios().nodes;
    let script = script("122");
    let all: BTreeSet<String> = script.nodes.keys().cloned().collect();
    let missed: Vec<_> = all.difference(&walked).collect();
    assert!(missed.is_empty(), "no scenario visits {missed:?}");
}

#[test]
fn a_robot_is_restored_with_its_own_version_of_the_script_only() {
    let mut robot = Ivr::new(call(), script("122"), PlayId(1));
    robot.handle(Moment::ZERO, Event::Started);
    let snapshot = robot.snapshot().unwrap();
    assert!(Ivr::restore(script("122"), &snapshot).is_ok());
    assert!(Ivr::restore(script("bench"), &snapshot).is_err());
    assert!(Ivr::restore(script("122"), &snapshot[..snapshot.len() / 2]).is_err());
}

#[test]
fn the_bench_prompt_lasts_two_seconds() {
    assert_eq!(wav("bench-prompt").samples, 2 * 8000);
}

#[test]
fn every_prompt_is_a_telephone_wav() {
    for prompt in known().prompts {
        let wav = wav(prompt.as_str());
        assert_eq!((wav.channels, wav.rate, wav.bits), (1, 8000, 16), "{prompt}");
        assert!((800..8000 * 60).contains(&wav.samples), "{prompt} has {} samples", wav.samples);
    }
}

#[test]
fn every_prompt_was_made_of_the_text_that_stands_in_the_scripts() {
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(prompts_folder().join("manifest.json")).unwrap()).unwrap();
    let made: BTreeMap<String, String> = manifest["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry["text"].as_str().unwrap().to_owned()))
        .collect();
    let written: BTreeMap<String, String> = scripts()
        .iter()
        .flat_map(|script| script.texts.iter().map(|(id, text)| (id.to_string(), text.clone())).collect::<Vec<_>>())
        .collect();
    for (id, text) in written {
        assert_eq!(made.get(&id), Some(&text), "run scripts/render-prompts: {id} has a new text");
    }
    let wavs: BTreeSet<String> = known().prompts.iter().map(ToString::to_string).collect();
    assert_eq!(made.into_keys().collect::<BTreeSet<_>>(), wavs);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever callers press and whenever: there is always a queue, a route or a deadline, and silence ends in one of them or in
    /// an announced hang-up.
    #[test]
    fn no_caller_is_left_without_an_exit(walk in prop::collection::vec(any_doing(), 1..80), name in any_script()) {
        let mut caller = Caller::new(script(&name));
        caller.event(Event::Started);
        for doing in walk {
            caller.does(&doing);
            prop_assert!(caller.has_an_exit(), "stuck at {} after {doing:?}", caller.robot.node());
        }
        caller.stays_silent();
        prop_assert!(caller.waits() || caller.is_gone(), "silence led to {}", caller.robot.node());
    }

    /// Wrong keys and silence in any order end with an operator, never with a hang-up.
    #[test]
    fn a_caller_who_only_errs_meets_an_operator(errors in prop::collection::vec(any_error(), 1..40)) {
        let mut caller = Caller::new(script("122"));
        caller.event(Event::Started);
        caller.event(Event::Hours { open: true });
        for error in errors {
            caller.does(&error);
            prop_assert!(!caller.is_gone());
        }
        caller.stays_silent();
        prop_assert_eq!(&caller.queue, &Some(QueueId::from("consultation")));
    }

    /// A robot that was written down and read again at any moment goes on as if nothing had been.
    #[test]
    fn a_restored_robot_goes_on_the_same(walk in prop::collection::vec(any_doing(), 1..60), name in any_script()) {
        let mut steady = Caller::new(script(&name));
        let mut restored = Caller::new(script(&name));
        steady.event(Event::Started);
        restored.event(Event::Started);
        for doing in walk {
            restored.robot = Ivr::restore(script(&name), &restored.robot.snapshot().unwrap()).unwrap();
            steady.does(&doing);
            restored.does(&doing);
            prop_assert_eq!(&steady.heard, &restored.heard);
            prop_assert_eq!(steady.robot.snapshot().unwrap(), restored.robot.snapshot().unwrap());
        }
    }
}

// --- a caller at random

#[derive(Clone, Debug)]
enum Doing {
    Key(char),
    PromptEnds,
    OldPromptEnds,
    TimePasses,
    Hours(bool),
    Overflow,
    RouteFails,
    Booked(bool),
    Announce(u32),
    Say,
    PromiseCallback,
    Move,
    Routed,
}

fn any_doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        4 => prop::sample::select("0123456789*#A".chars().collect::<Vec<_>>()).prop_map(Doing::Key),
        4 => Just(Doing::PromptEnds),
        1 => Just(Doing::OldPromptEnds),
        3 => Just(Doing::TimePasses),
        3 => any::<bool>().prop_map(Doing::Hours),
        1 => Just(Doing::Overflow),
        1 => Just(Doing::RouteFails),
        2 => any::<bool>().prop_map(Doing::Booked),
        1 => (0..200u32).prop_map(Doing::Announce),
        1 => prop::sample::select(vec![Doing::Say, Doing::PromiseCallback, Doing::Move, Doing::Routed]),
    ]
}

fn any_error() -> impl Strategy<Value = Doing> {
    prop_oneof![
        prop::sample::select(vec!['8', '#', 'B']).prop_map(Doing::Key),
        Just(Doing::PromptEnds),
        Just(Doing::OldPromptEnds),
        Just(Doing::TimePasses),
    ]
}

fn any_script() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["122".to_owned(), "bench".to_owned(), "number-changed".to_owned(), "extensions".to_owned()])
}

struct Caller {
    robot: Ivr,
    now: Moment,
    heard: Vec<Command>,
    play: Option<PlayId>,
    queue: Option<QueueId>,
    route: Option<RouteId>,
    end: Option<Outcome>,
}

impl Caller {
    fn new(script: Arc<Script>) -> Self {
        let robot = Ivr::new(call(), script, PlayId(1));
        Self { robot, now: Moment::from_secs(1), heard: vec![], play: None, queue: None, route: None, end: None }
    }

    fn does(&mut self, doing: &Doing) {
        match doing {
            Doing::Key(key) => self.event(Event::Digit(*key)),
            Doing::PromptEnds => self.event(Event::PlayEnded(self.play.unwrap_or(PlayId(0)))),
            Doing::OldPromptEnds => self.event(Event::PlayEnded(PlayId(0))),
            Doing::TimePasses => self.time_passes(),
            Doing::Hours(open) => self.event(Event::Hours { open: *open }),
            Doing::Overflow => {
                let queue = self.queue.clone().unwrap_or_else(|| "nowhere".into());
                self.event(Event::Overflowed { queue, why: QueueLeft::Full });
            }
            Doing::RouteFails => {
                let route = self.route.clone().unwrap_or_else(|| "nowhere".into());
                self.event(Event::RouteFailed { route, end: RouteEnd::Busy });
            }
            Doing::Say => self.event(Event::Say { prompt: "all-busy".into() }),
            Doing::PromiseCallback => self.event(Event::PromiseCallback),
            Doing::Move if self.queue.is_some() && self.route.is_none() => {
                self.queue = Some("appeals".into());
                self.event(Event::Moved { queue: "appeals".into() });
            }
            Doing::Routed if self.queue.is_some() && self.route.is_none() => {
                self.route = Some("ambulance".into());
                self.event(Event::Routed { queue: self.queue.clone().unwrap() });
            }
            Doing::Move | Doing::Routed => {}
            Doing::Booked(true) => self.event(Event::CallbackBooked { within: Duration::from_secs(3000) }),
            Doing::Booked(false) => self.event(Event::CallbackRefused),
            Doing::Announce(position) => {
                self.event(Event::Announce {
                    position: *position,
                    wait: Some(Duration::from_secs(u64::from(*position) * 20)),
                    fewer_agents: false,
                });
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.now = self.now + Duration::from_millis(100);
        self.robot.handle(self.now, event);
        self.listen();
    }

    fn time_passes(&mut self) {
        if let Some(until) = self.robot.poll_timeout() {
            self.now = self.now.max(until);
            self.robot.handle_timeout(self.now);
            self.listen();
        }
    }

    fn stays_silent(&mut self) {
        for _ in 0..100 {
            self.time_passes();
        }
    }

    fn listen(&mut self) {
        while let Some(command) = self.robot.poll_command() {
            assert!(self.end.is_none(), "a word after the hang-up: {command:?}");
            match &command {
                Command::Play { play, .. } => self.play = Some(*play),
                Command::Enqueue { queue, .. } => (self.queue, self.route) = (Some(queue.clone()), None),
                Command::Transfer { route } => (self.queue, self.route) = (None, Some(route.clone())),
                Command::HangUp { outcome } => (self.queue, self.route, self.end) = (None, None, Some(*outcome)),
                Command::Fact(Fact::RobotAtNode { .. }) => (self.queue, self.route) = (None, None),
                Command::LeaveQueue { .. } => (self.queue, self.route) = (None, None),
                Command::Answer
                | Command::EarlyMedia
                | Command::Music(_)
                | Command::StopPlay
                | Command::Record
                | Command::AskHours { .. }
                | Command::BookCallback { .. }
                | Command::Fact(_) => {}
            }
            self.heard.push(command);
        }
    }

    fn waits(&self) -> bool {
        self.queue.is_some() || self.route.is_some()
    }
    fn is_gone(&self) -> bool {
        self.end.is_some()
    }
    fn has_an_exit(&self) -> bool {
        self.is_gone() || self.waits() || self.robot.poll_timeout().is_some()
    }
}

// --- scenario files

struct Played {
    scenarios: usize,
    nodes: BTreeSet<String>,
}

fn play_all_scenarios() -> Played {
    let mut played = Played { scenarios: 0, nodes: BTreeSet::new() };
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("tests/scenarios/ivr")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "txt")) {
        let text = fs::read_to_string(file).unwrap();
        for scenario in text.split("\n== ").skip(1) {
            play(
                &format!("{}: {}", file.file_name().unwrap().display(), scenario.lines().next().unwrap()),
                scenario,
                &mut played.nodes,
            );
            played.scenarios += 1;
        }
    }
    played
}

/// A scenario: a title, `script NAME`, then times with what happens, each followed by all that the robot answers.
fn play(title: &str, text: &str, nodes: &mut BTreeSet<String>) {
    let mut lines =
        text.lines().skip(1).map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    let name =
        lines.next().and_then(|line| line.strip_prefix("script ")).unwrap_or_else(|| panic!("{title}: begin with `script NAME`"));
    let robot = Ivr::new(call(), script(name), PlayId(1));
    let mut scene = Scene { robot, parting: None, play: PlayId(0), queue: None, route: None };
    while let Some(line) = lines.next() {
        let (time, event) = line.split_once(' ').unwrap_or_else(|| panic!("{title}: `{line}`"));
        let seconds: f64 = time.parse().unwrap_or_else(|_| panic!("{title}: `{line}` begins with no time"));
        scene.happens(Moment::from_millis(1_000_000 + (seconds * 1000.0) as u64), event.trim());
        let mut wanted = vec![];
        while let Some(answer) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
            wanted.push(answer.to_owned());
            lines.next();
        }
        let answers = scene.answers(nodes);
        assert_eq!(answers, wanted, "\n{title}\nafter `{line}`\nthe robot answers:\n> {}\n", answers.join("\n> "));
    }
}

struct Scene {
    robot: Ivr,
    parting: Option<Outcome>,
    play: PlayId,
    queue: Option<QueueId>,
    route: Option<RouteId>,
}

impl Scene {
    fn happens(&mut self, now: Moment, event: &str) {
        let words: Vec<_> = event.split_whitespace().collect();
        let event = match words.as_slice() {
            ["call", "starts"] => Event::Started,
            ["call", "comes", "back", "for", queue] => Event::Resumed { queue: QueueId::from(*queue) },
            ["booked", "within", minutes, "minutes"] => {
                Event::CallbackBooked { within: Duration::from_secs(60 * minutes.parse::<u64>().unwrap()) }
            }
            ["not", "booked"] => Event::CallbackRefused,
            ["key", key] => Event::Digit(key.chars().next().unwrap()),
            ["said"] => Event::PlayEnded(self.play),
            ["open"] => Event::Hours { open: true },
            ["closed"] => Event::Hours { open: false },
            ["full"] => Event::Overflowed { queue: self.queue.clone().unwrap(), why: QueueLeft::Full },
            ["full", other] => Event::Overflowed { queue: QueueId::from(*other), why: QueueLeft::Full },
            ["closed", "queue"] => Event::Overflowed { queue: self.queue.clone().unwrap(), why: QueueLeft::Closed },
            ["acd", "says", prompt] => Event::Say { prompt: PromptId::from(*prompt) },
            ["acd", "promises", "a", "callback"] => Event::PromiseCallback,
            ["acd", "moves", "to", queue] => {
                self.queue = Some(QueueId::from(*queue));
                Event::Moved { queue: QueueId::from(*queue) }
            }
            ["acd", "dials", route] => {
                self.route = Some(RouteId::from(*route));
                Event::Routed { queue: self.queue.clone().unwrap() }
            }
            ["route", "fails"] => Event::RouteFailed { route: self.route.clone().unwrap(), end: RouteEnd::Busy },
            ["route", other, "fails"] => Event::RouteFailed { route: RouteId::from(*other), end: RouteEnd::Busy },
            ["place", position] => Event::Announce { position: position.parse().unwrap(), wait: None, fewer_agents: false },
            ["place", position, "wait", minutes] => Event::Announce {
                position: position.parse().unwrap(),
                wait: Some(Duration::from_secs(60 * minutes.parse::<u64>().unwrap())),
                fewer_agents: false,
            },
            ["hangs", "up"] | ["agent", "answers"] => Event::Stopped,
            ["time", "passes"] => return self.robot.handle_timeout(now),
            other => panic!("no such event: {other:?}"),
        };
        self.robot.handle(now, event);
    }

    fn answers(&mut self, nodes: &mut BTreeSet<String>) -> Vec<String> {
        let mut answers = vec![];
        let before = self.parting;
        while let Some(command) = self.robot.poll_command() {
            answers.push(match command {
                Command::Answer => "answer".to_owned(),
                Command::EarlyMedia => "early media".to_owned(),
                Command::Play { play, prompts } => {
                    self.play = play;
                    format!("say {}", prompts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                }
                Command::Music(prompt) => format!("music {prompt}"),
                Command::StopPlay => "stop".to_owned(),
                Command::Record => "record".to_owned(),
                Command::AskHours { calendar } => format!("ask {calendar}"),
                Command::Enqueue { queue, priority, urgent } => {
                    self.queue = Some(queue.clone());
                    let priority = if priority > 0 { format!(" priority {priority}") } else { String::new() };
                    format!("queue {queue}{priority}{}", if urgent { " urgent" } else { "" })
                }
                Command::Transfer { route } => {
                    self.route = Some(route.clone());
                    format!("transfer {route}")
                }
                Command::HangUp { outcome } => format!("hang up {}", outcome.as_str()),
                Command::LeaveQueue { why } => {
                    format!("leave the queue: {}", serde_json::to_value(why).unwrap().as_str().unwrap())
                }
                Command::BookCallback { queue, booking } => format!("book {booking:?} in {queue}").to_lowercase(),
                Command::Fact(Fact::RobotAtNode { node, .. }) => {
                    nodes.insert(node.clone());
                    format!("node {node}")
                }
                Command::Fact(Fact::ThemeChosen { theme, .. }) => format!("theme {theme}"),
                Command::Fact(other) => format!("{other:?}"),
            });
        }
        self.parting = self.robot.parting();
        if self.parting == Some(Outcome::CallbackBooked) && before != self.parting {
            answers.push("parting callback_booked".to_owned());
        }
        answers
    }
}

// --- what is in the repository

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn prompts_folder() -> PathBuf {
    root().join("ivr-scripts/prompts")
}

fn call() -> CallId {
    "01920000-0000-7000-8000-000000000001".parse().unwrap()
}

fn script(name: &str) -> Arc<Script> {
    let found = scripts().into_iter().find(|script| script.id.as_str() == name);
    found.unwrap_or_else(|| panic!("no script {name}"))
}

/// Those of the repository, and one of our own for what they do not use.
fn scripts() -> Vec<Arc<Script>> {
    static SCRIPTS: std::sync::OnceLock<Vec<Arc<Script>>> = std::sync::OnceLock::new();
    SCRIPTS.get_or_init(read_scripts).clone()
}

fn read_scripts() -> Vec<Arc<Script>> {
    let yaml = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect()
    };
    let files: Vec<(String, String)> = yaml("ivr-scripts")
        .into_iter()
        .chain(yaml("tests/scenarios/ivr"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    let pairs = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    check_scripts(pairs, &known())
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| format!("{e}\n")).collect::<String>()))
}

fn known() -> Known {
    let wavs = fs::read_dir(prompts_folder()).unwrap().map(|entry| entry.unwrap().path());
    let wavs = wavs.filter(|path| path.extension().is_some_and(|ending| ending == "wav"));
    Known {
        prompts: wavs.map(|path| PromptId::from(path.file_stem().unwrap().to_str().unwrap())).collect(),
        queues: ["booking", "home_visit", "drugs", "consultation", "appeals", "other", "main"].map(QueueId::from).into(),
        routes: [RouteId::from("ambulance")].into(),
        calendars: ["main".to_owned()].into(),
        calling_back: BTreeSet::new(),
    }
}

struct Wav {
    channels: u16,
    rate: u32,
    bits: u16,
    samples: usize,
}

/// A plain WAV as the renderer writes it: 44 bytes of header, then samples.
fn wav(prompt: &str) -> Wav {
    let bytes = fs::read(prompts_folder().join(format!("{prompt}.wav"))).unwrap();
    assert_eq!((&bytes[0..4], &bytes[8..16], &bytes[36..40]), (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..]), "{prompt}");
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    assert_eq!(u32_at(40) as usize, bytes.len() - 44, "{prompt}");
    Wav { channels: u16_at(22), rate: u32_at(24), bits: u16_at(34), samples: (bytes.len() - 44) / 2 }
}
