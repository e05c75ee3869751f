//! A stand-in for the conductor: answers what the API asks, and remembers it.

use dozvon::call::request::{AgentWish, Engine, Refusal, Request};
use dozvon::call::view::*;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

#[derive(Clone)]
pub struct Fake {
    pub engine: Engine,
    /// What the board shows; a test changes it as the floor would.
    pub board: Arc<Mutex<Board>>,
    /// What was asked, in words.
    #[allow(dead_code)] // the example does not look at it
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub fn start(board: Board) -> Self {
        let (requests, mut inbox) = mpsc::channel(Engine::MAX_REQUESTS);
        let fake = Self { engine: Engine { requests }, board: Arc::new(Mutex::new(board)), asked: Arc::default() };
        let (board, asked) = (fake.board.clone(), fake.asked.clone());
        tokio::spawn(async move {
            while let Some(request) = inbox.recv().await {
                answer(request, &board, &asked);
            }
        });
        fake
    }
}

fn answer(request: Request, board: &Mutex<Board>, asked: &Mutex<Vec<String>>) {
    let known = |agent: &str| board.lock().unwrap().agents.iter().any(|known| known.agent == agent);
    let settle = |agent: &str| if known(agent) { Ok(()) } else { Err(Refusal::NotFound(format!("agent {agent}"))) };
    let note = |words: String| asked.lock().unwrap().push(words);
    match request {
        Request::Board(reply) => {
            let mut board = board.lock().unwrap();
            board.sequence += 1;
            let _ = reply.send(board.clone());
        }
        Request::AgentState { agent, wish, reply } => {
            note(match &wish {
                AgentWish::Ready => format!("{agent} ready"),
                AgentWish::Break { reason } => format!("{agent} break {reason}"),
                AgentWish::Offline => format!("{agent} offline"),
                AgentWish::FinishWrapUp => format!("{agent} finishes wrap-up"),
                AgentWish::ExtendWrapUp => format!("{agent} extends wrap-up"),
                AgentWish::Code { code } => format!("{agent} gives code {code}"),
            });
            let _ = reply.send(settle(agent.as_str()));
        }
        Request::AgentOverride { agent, order, by, why, reply } => {
            note(format!("{by} wants {agent} {order:?}: {why}"));
            let _ = reply.send(settle(agent.as_str()));
        }
        Request::Transfer { agent, route, reply } => {
            note(format!("{agent} transfers to {route}"));
            let _ = reply.send(settle(agent.as_str()));
        }
        Request::HandOn { agent, queue, reply } => {
            note(format!("{agent} hands on to {queue}"));
            let _ = reply.send(settle(agent.as_str()));
        }
        Request::TaskTaken { task, agent, reply } => {
            note(format!("{agent} takes {task}"));
            let _ = reply.send(Ok(()));
        }
        Request::TaskClosed { task, how, reply } => {
            note(format!("{task} closed {how:?}"));
            let _ = reply.send(Ok(()));
        }
        Request::TaskTried { task, end, reply } => {
            note(format!("{task} tried {end:?}"));
            let _ = reply.send(Ok(()));
        }
        Request::OpenCallbacks(reply) => {
            let _ = reply.send(Vec::new());
        }
        Request::PauseRecording { agent, paused, reply } => {
            note(format!("{agent} recording paused {paused}"));
            let _ = reply.send(settle(agent.as_str()));
        }
        Request::Reload(reply) => {
            let _ = reply.send(Err(Refusal::Invalid("config/x.toml:12: queue `terapy` is not defined".to_owned())));
        }
        Request::PersonOf { reply, .. } => {
            let _ = reply.send(dozvon::ids::PersonId(uuid::Uuid::from_u128(12)));
        }
        Request::PersonForgotten { person, recordings, reply } => {
            note(format!("{person} forgotten with {recordings} recordings"));
            let _ = reply.send(Ok(()));
        }
        Request::Drain | Request::HandOver => {
            note("drain".to_owned());
            board.lock().unwrap().draining = true;
        }
        Request::RecordingNews(fact) => note(format!("{fact:?}")),
        Request::HandoffSettled { .. } | Request::StoreAt { .. } => {}
    }
}

/// A morning on the floor at this moment (Unix ms).
pub fn morning(now: u64) -> Board {
    let queue = |queue: &str, title: &str, waiting, offered, wait_s: u64, target_s: u64, ready_agents| Queue {
        queue: queue.into(),
        title: title.into(),
        region: 22,
        waiting,
        offered,
        longest_wait_ms: wait_s * 1000,
        target_ms: target_s * 1000,
        ready_agents,
        closed: false,
        wait_estimate_ms: Some(target_s * 1000),
    };
    let agent = |agent: &str, state: &str, reason: Option<&str>, since_s: u64| Agent {
        agent: agent.into(),
        region: 22,
        state: state.into(),
        reason: reason.map(Into::into),
        since_ms: now - since_s * 1000,
        call: None,
        reachable: agent != "line12",
        served: 14,
        missed: 0,
        until_ms: None,
        overdue: false,
        overridden_by: None,
        overridden_why: None,
    };
    let call = |n: u64, stage: &str, queue: Option<&str>, agent: Option<&str>, theme: Option<&str>, since_s: u64| Call {
        call: format!("0193a1b2-0000-7000-8000-{n:012}"),
        region: 22,
        caller: if n == 4 { String::new() } else { format!("+7•••••••{:02}", n * 17 % 100) },
        dialled: if n.is_multiple_of(3) { "+78001234567".into() } else { "122".into() },
        stage: stage.into(),
        queue: queue.map(Into::into),
        agent: agent.map(Into::into),
        theme: theme.map(Into::into),
        since_ms: now - since_s * 1000,
        stage_since_ms: now - since_s * 700,
    };
    let outcomes =
        [("served", 1103), ("self_served", 214), ("abandoned_in_queue", 37), ("abandoned_in_menu", 12), ("cancelled", 21)];
    let outcomes = outcomes.into_iter().chain([("transferred_out", 9), ("failed", 1)]).map(|(word, n)| (word.to_owned(), n));
    Board {
        sequence: 0,
        at_ms: now,
        queues: vec![
            queue("booking", "Запись к врачу", 7, 1, 42, 30, 0),
            queue("home_visit", "Вызов врача на дом", 2, 1, 11, 20, 1),
            queue("drugs", "Лекарства", 1, 0, 16, 20, 0),
            queue("consultation", "Консультация", 0, 0, 0, 40, 3),
            queue("appeals", "Обращения и жалобы", 0, 0, 0, 60, 2),
        ],
        agents: vec![
            agent("ivanova", "talking", None, 187),
            agent("petrov", "talking", None, 64),
            agent("sidorova", "talking", None, 421),
            agent("line3", "talking", None, 12),
            agent("line4", "talking", None, 95),
            agent("line5", "offered", None, 4),
            agent("line6", "offered", None, 9),
            agent("line7", "ready", None, 31),
            agent("line8", "ready", None, 112),
            agent("line9", "ready", None, 8),
            agent("line10", "wrap_up", None, 15),
            agent("line11", "wrap_up", None, 3),
            agent("line12", "on_break", Some("missed_offers"), 640),
            agent("line13", "on_break", Some("обед"), 1260),
            agent("line14", "offline", None, 7200),
            agent("line15", "offline", None, 9000),
        ],
        calls: vec![
            call(1, "talking", Some("booking"), Some("ivanova"), Some("therapist"), 260),
            call(2, "talking", Some("booking"), Some("petrov"), Some("paediatrician"), 130),
            call(3, "talking", Some("drugs"), Some("sidorova"), None, 470),
            call(4, "waiting", Some("booking"), None, None, 61),
            call(5, "waiting", Some("booking"), None, Some("surgeon"), 55),
            call(6, "ringing", Some("home_visit"), Some("line5"), None, 34),
            call(7, "transferring", None, Some("line3"), Some("ambulance"), 28),
            call(8, "robot", None, None, None, 9),
            call(9, "robot", None, None, None, 3),
        ],
        live_calls: 24,
        regions: vec![RegionLedger {
            region: 22,
            title: "Алтайский край".into(),
            entered: 1421,
            live: 24,
            outcomes: outcomes.collect(),
            open_callbacks: 18,
        }],
        journal: Journal::default(),
        trunks: vec![
            Trunk { trunk: "city".into(), reachable: true, live: 21, channels: 120 },
            Trunk { trunk: "ambulance".into(), reachable: false, live: 0, channels: 0 },
        ],
        draining: false,
        around: Around::default(),
    }
}
