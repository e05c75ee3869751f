//! What one packet costs in the pure parts of the media room: laws, numbering, keys.

use divan::{Bencher, black_box};
use dozvon::clock::Moment;
use dozvon::media::dtmf::{Event, KeyListener};
use dozvon::media::g711;
use dozvon::media::rtp::{Mark, OutStream, Packet, Received, header};
use dozvon::stream::Codec;

fn main() {
    divan::main();
}

#[divan::bench]
fn alaw_to_ulaw_of_one_packet(bencher: Bencher) {
    let mut payload = [0x55u8; 160];
    bencher.bench_local(|| g711::transcode(black_box(&mut payload), Codec::Pcma, Codec::Pcmu));
}

#[divan::bench]
fn encode_one_packet(bencher: Bencher) {
    let samples: Vec<i16> = (0..160).map(|at| at * 200).collect();
    bencher.bench_local(|| samples.iter().map(|sample| u32::from(g711::encode(Codec::Pcma, black_box(*sample)))).sum::<u32>());
}

#[divan::bench]
fn read_count_and_number_a_relayed_packet(bencher: Bencher) {
    let (mut received, mut out) = (Received::default(), OutStream::new(1, 1, 1));
    let (mut turn, mut bytes) = (0u32, [0x55u8; 172]);
    bencher.bench_local(|| {
        turn = turn.wrapping_add(1);
        let mark = Mark { sequence: turn as u16, timestamp: turn.wrapping_mul(160), marker: false };
        bytes[..12].copy_from_slice(&header(8, mark, 7));
        let now = Moment(u64::from(turn) * 20_000);
        let packet = Packet::read(black_box(&bytes))?;
        received.note(&packet);
        received.note_spacing(now, &packet);
        let mark = out.relayed(now, &packet, 160)?;
        bytes[..12].copy_from_slice(&header(8, mark, 1));
        Some(mark)
    });
}

#[divan::bench]
fn hear_a_key_of_eight_packets(bencher: Bencher) {
    let (mut keys, mut timestamp) = (KeyListener::default(), 0u32);
    bencher.bench_local(|| {
        timestamp = timestamp.wrapping_add(3_200);
        (1..=8u16).filter_map(|step| keys.hear(1, timestamp, Event { code: 5, ended: step > 5, duration: step * 160 })).count()
    });
}
