//! What bridged calls cost: CPU of the media thread per packet in and out, measured on loopback.
//!
//!     cargo run --release --example relay_cost -- [relay|record|music] [pairs] [seconds] [lines]
//!
//! The phones are threads of this process; with `lines` they are elsewhere (caller n at 127.0.1.1, operator n at 127.0.2.1, port
//! 20000 + 4n) and a line `start NAME PORT IP PORT` for each tells them where to send.

use dozvon::clock::{Clock, Moment};
use dozvon::ids::{LegId, PlayId};
use dozvon::media::door::{MediaCommand, MediaEvent};
use dozvon::media::rtp::{Mark, header};
use dozvon::media::{Media, MediaNetwork, MediaSettings};
use dozvon::stream::{Codec, Direction, Stream};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let work = words.next().unwrap_or_else(|| "relay".into());
    let pairs: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(100);
    let seconds: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(10);
    let elsewhere = words.next().is_some();
    let folder = std::env::temp_dir().join(format!("relay_cost-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("music.wav"), music())?;

    let (tell, events) = mpsc::channel();
    let network = MediaNetwork { name: "net".into(), bind: IpAddr::from([127, 0, 50, 1]), ports: 30_000..=60_000 };
    let settings = MediaSettings {
        networks: vec![network],
        threads: 1,
        prompt_dirs: vec![folder.clone()],
        record_dir: folder.clone(),
        ..MediaSettings::default()
    };
    let media = Media::start(settings, Clock::start(Moment::ZERO), move |event| drop(tell.send(event)))?;

    let mut phones = Vec::new();
    let memory = resident_kb();
    for leg in 0..pairs * 2 {
        media.send(MediaCommand::Open { leg: LegId(leg), network: "net".into(), near: None, at: None });
        let Ok(MediaEvent::Opened { local, .. }) = events.recv() else { return Err(std::io::Error::other("leg did not open")) };
        let remote = if elsewhere {
            let (name, third) = if leg % 2 == 0 { ("cit", 1) } else { ("op", 2) };
            let port = 20_000 + 4 * (leg / 2) as u16;
            println!("start {name} {port} {} {}", local.ip(), local.port());
            SocketAddr::from(([127, 0, third, 1], port))
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            phones.push((socket, local));
            address
        };
        let stream = Stream { remote, codec: Codec::Pcma, telephone_event: None, ptime_ms: 20, direction: Direction::SendRecv };
        media.send(MediaCommand::Connect { leg: LegId(leg), stream, learn: false });
        if work == "music" {
            media.send(MediaCommand::Play { leg: LegId(leg), play: PlayId(leg), prompts: vec!["music".into()], repeat: true });
        }
    }
    for pair in (0..pairs).filter(|_| work != "music") {
        media.send(MediaCommand::Bridge { a: LegId(pair * 2), b: LegId(pair * 2 + 1) });
        if work == "record" {
            media.send(MediaCommand::Record { leg: LegId(pair * 2), file: format!("{pair}.wav") });
        }
    }
    eprintln!("{} bytes resident a leg", (resident_kb() - memory) * 1024 / (pairs * 2));

    let speaking = AtomicBool::new(true);
    let before = (cpu_us("media-0"), cpu_us("recorder"));
    std::thread::scope(|scope| {
        if !elsewhere {
            scope.spawn(|| speak(&phones, work != "music", &speaking));
        }
        std::thread::sleep(Duration::from_secs(seconds));
        speaking.store(false, Ordering::Relaxed);
    });
    let (thread, writer) = (cpu_us("media-0") - before.0, cpu_us("recorder") - before.1);
    for leg in 0..pairs * 2 {
        media.send(MediaCommand::Close { leg: LegId(leg) });
    }
    drop(media);
    let (mut received, mut sent) = (0, 0);
    for event in events {
        if let MediaEvent::Closed { summary, .. } = event {
            (received, sent) = (received + summary.received, sent + summary.sent);
        }
    }
    // A starved phone thread sends fewer, so what was really sent counts. A bridged minute is 6,000 packets in and out.
    let packets = sent as f64;
    eprintln!(
        "{work}: {:.2} us a packet, writer {:.2} us; {:.1} CPU-s per 1,000 call-minutes; received {received}, sent {sent}",
        thread / packets,
        writer / packets,
        (thread + writer) / 1e6 / (packets / 6000.0) * 1000.0
    );
    std::fs::remove_dir_all(folder)
}

/// All phones, each 20 ms a packet, spread over the 20 ms; what they hear is thrown away.
fn speak(phones: &[(UdpSocket, SocketAddr)], aloud: bool, speaking: &AtomicBool) {
    let clock = Clock::start(Moment::ZERO);
    let start = clock.now();
    let mut packet = [0x55; 172];
    for slot in 0u64.. {
        if !speaking.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep((start + Duration::from_millis(slot)).since(clock.now()));
        let turn = slot / 20;
        for (phone, (socket, target)) in phones.iter().enumerate().skip((slot % 20) as usize).step_by(20) {
            while socket.recv(&mut [0; 256]).is_ok() {}
            if aloud {
                let mark = Mark { sequence: turn as u16, timestamp: turn as u32 * 160, marker: false };
                packet[..12].copy_from_slice(&header(8, mark, phone as u32));
                let _ = socket.send_to(&packet, target);
            }
        }
    }
}

/// CPU time of the thread of this name.
fn cpu_us(name: &str) -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = threads
        .map(|entry| entry.path())
        .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let statistics = thread.and_then(|path| std::fs::read_to_string(path.join("schedstat")).ok()).unwrap_or_default();
    statistics.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
}

fn resident_kb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

/// Eight seconds of A-law.
fn music() -> Vec<u8> {
    let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x06\0\x01\0\x40\x1F\0\0\x40\x1F\0\0\x01\0\x08\0data\x00\xFA\0\0".to_vec();
    wav.extend((0..64_000u32).map(|at| (at * 7) as u8));
    wav
}
