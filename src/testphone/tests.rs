//! Two phones on the loopback, one calling the other: what wire tests may rely on.

use super::*;
use crate::clock::{Clock, Moment};
use crate::sip::digest::{Nonces, Verdict};

const AT_ONCE: OnInvite = OnInvite::Answer { after: Duration::ZERO };

#[tokio::test]
async fn two_phones_hear_each_other_and_the_keys() {
    let (a, b) = phones();
    b.on_invite(OnInvite::Answer { after: Duration::from_millis(50) });
    let out = a.call(b.address(), "122", "+79990000001").unwrap();
    out.wait_ringing().await.unwrap();
    out.wait_answered().await.unwrap();
    let back = b.next_call(WAIT).await.unwrap();
    assert!(back.invite_header("From").unwrap().starts_with("<sip:+79990000001@"));
    out.say(Voice::Tone(440.0));
    back.say(Voice::Tone(1000.0));
    back.hears_tone(440.0).await.unwrap();
    out.hears_tone(1000.0).await.unwrap();
    back.say(Voice::Silence);
    out.heard_silence().await.unwrap();
    out.press('1').await.unwrap();
    out.press('#').await.unwrap();
    back.hears_digits("1#").await.unwrap();
    out.press_info('5').await.unwrap();
    assert_eq!((back.heard().lost, back.heard().streams, back.heard().sources.len()), (0, 1, 1));
    out.hang_up();
    assert_eq!(back.wait_ended().await.unwrap(), End::TheyHungUp);
    assert_eq!(out.wait_ended().await.unwrap(), End::WeHungUp);
}

#[tokio::test]
async fn hold_stops_the_sound_and_resume_brings_it_back() {
    let (a, b, out, back) = talking().await;
    out.say(Voice::Tone(440.0));
    back.say(Voice::Tone(1000.0));
    back.hears_tone(440.0).await.unwrap();
    out.hold().await.unwrap();
    back.wait_held().await.unwrap();
    back.heard_silence().await.unwrap();
    out.heard_silence().await.unwrap();
    out.resume().await.unwrap();
    back.wait_resumed().await.unwrap();
    back.hears_tone(440.0).await.unwrap();
    out.hears_tone(1000.0).await.unwrap();
    drop((a, b));
}

#[tokio::test]
async fn a_call_ends_in_the_way_its_state_asks_for() {
    let (a, b) = phones();
    let ring = || a.call(b.address(), "122", "1").unwrap();
    let cancelled = ring();
    let rings = b.next_call(WAIT).await.unwrap();
    cancelled.wait_ringing().await.unwrap();
    cancelled.cancel();
    assert_eq!(rings.wait_ended().await.unwrap(), End::Cancelled);
    assert_eq!(cancelled.wait_ended().await.unwrap(), End::Cancelled);
    let at_once = ring();
    at_once.cancel();
    assert_eq!(at_once.wait_ended().await.unwrap(), End::Cancelled);
    b.on_invite(OnInvite::Reject { status: 486, after: Duration::from_millis(40) });
    assert_eq!(ring().wait_ended().await.unwrap(), End::Refused(486));
    b.on_invite(AT_ONCE);
    let answered = ring();
    answered.wait_answered().await.unwrap();
    b.hang_up_all().await;
    assert_eq!(answered.wait_ended().await.unwrap(), End::TheyHungUp);
}

#[tokio::test]
async fn a_call_without_an_offer_is_agreed_in_the_ack() {
    let (a, b) = phones();
    b.on_invite(AT_ONCE);
    let out = a.dial(Dial { codecs: vec![], ..Dial::new(b.address(), "122", "1") }).unwrap();
    out.wait_answered().await.unwrap();
    out.say(Voice::Tone(440.0));
    b.next_call(WAIT).await.unwrap().hears_tone(440.0).await.unwrap();
    b.hang_up_all().await;
}

#[tokio::test]
async fn a_vanished_phone_says_and_hears_nothing() {
    let (_a, b, out, back) = talking().await;
    back.say(Voice::Tone(1000.0));
    out.hears_tone(1000.0).await.unwrap();
    b.vanish();
    out.heard_silence().await.unwrap();
    out.hang_up();
    assert!(back.within(Duration::from_millis(200)).wait_ended().await.is_err());
}

#[tokio::test]
async fn an_unmet_wait_says_what_it_waited_for() {
    let (_a, _b, out, _back) = talking().await;
    let waited = out.within(Duration::from_millis(100)).hears_tone(440.0).await.unwrap_err();
    assert!(waited.to_string().contains("a tone of 440 Hz, but the call is Answered"), "{waited}");
}

#[tokio::test]
async fn a_phone_registers_with_its_password_only() {
    let phone = Phone::bind(any()).unwrap();
    let registrar = registrar();
    assert_eq!(phone.register(registrar, "op1", "wrong").await, Err(NotGranted(Some(403))));
    assert_eq!(phone.register(registrar, "op1", "right").await, Ok(()));
    assert_eq!(phone.unregister().await, Ok(()));
}

#[tokio::test]
async fn a_stopped_demo_hangs_up_every_call() {
    let line = Phone::bind(any()).unwrap();
    line.on_invite(AT_ONCE);
    let plan = demo::Plan {
        target: line.address(),
        trunk: any(),
        desks: any().ip(),
        number: "122".into(),
        citizens_per_minute: 6000.0,
        agents: vec![],
        password: String::new(),
        ready_code: String::new(),
        keys: vec!["1".into()],
        seed: 1,
    };
    let call = std::sync::Mutex::new(None);
    let stop = async {
        let first = line.next_call(WAIT).await.unwrap();
        first.wait_answered().await.unwrap();
        first.within(Duration::from_millis(500)).wait_ended().await.unwrap_err();
        *call.lock().unwrap() = Some(first);
    };
    let tally = demo::run(plan, stop).await.unwrap();
    assert!(tally.calls.load(std::sync::atomic::Ordering::Relaxed) > 10);
    let first = call.lock().unwrap().take().unwrap();
    assert_eq!(first.wait_ended().await.unwrap(), End::TheyHungUp);
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn phones() -> (Phone, Phone) {
    (Phone::bind(any()).unwrap(), Phone::bind(any()).unwrap())
}

async fn talking() -> (Phone, Phone, PhoneCall, PhoneCall) {
    let (a, b) = phones();
    b.on_invite(AT_ONCE);
    let out = a.call(b.address(), "122", "1").unwrap();
    out.wait_answered().await.unwrap();
    let back = b.next_call(WAIT).await.unwrap();
    (a, b, out, back)
}

/// A registrar with one account, op1/right, that grants everything.
fn registrar() -> SocketAddr {
    let socket = std::net::UdpSocket::bind(any()).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut nonces, clock) = (Nonces::new([7; 32]), Clock::start(Moment::ZERO));
        let mut datagram = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let request = message::Message::parse(&datagram[..length]).unwrap();
            let password_of = |user: &str| (user == "op1").then(|| "right".to_owned());
            let verdict = request
                .header("Authorization")
                .map(|claim| nonces.check(clock.now(), claim, "REGISTER", request.uri(), "122", password_of));
            let mut response = match verdict {
                Some(Verdict::Granted { .. }) => message::Message::response(&request, 200, "r"),
                Some(Verdict::Denied) => message::Message::response(&request, 403, "r"),
                Some(Verdict::Stale) | None => message::Message::response(&request, 401, "r"),
            };
            for challenge in nonces.challenge(clock.now(), "122", true, false) {
                response = response.with("WWW-Authenticate", &challenge);
            }
            socket.send_to(&response.bytes(), from).unwrap();
        }
    });
    address
}
