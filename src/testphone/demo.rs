//! A day on the line in small: citizens who call, listen, press a key, wait or give up; agents who answer, talk and hang up.
//!
//! What anybody will do is drawn beforehand from the seed, so a seed gives the same day again as far as the engine does. An agent
//! begins with a second of 1000 Hz, a citizen with one of 440 Hz: each knows by ear that the other is there.

use super::{End, NotGranted, OnInvite, Phone, PhoneCall, Voice};
use crate::pii::Phone as Number;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::{info, warn};

const AGENT_HELLO: f64 = 1000.0;
const CITIZEN_HELLO: f64 = 440.0;
const HELLO: Duration = Duration::from_secs(1);
/// How long a citizen lets it ring before the line answers.
const RING: Duration = Duration::from_secs(20);
/// Longest talk, should nobody hang up.
const TALK_MAX: Duration = Duration::from_secs(120);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug)]
pub struct Plan {
    /// The line's SIP address.
    pub target: SocketAddr,
    /// The citizens' side, a trunk the line trusts.
    pub trunk: SocketAddr,
    /// The number they dial.
    pub number: String,
    pub citizens_per_minute: f64,
    /// Account names; all with one password.
    pub agents: Vec<String>,
    pub password: String,
    /// Where the agents' phones stand; no address of a trunk, or their own calls would be citizens'.
    pub desks: IpAddr,
    /// Dialled by each agent after registering, to become ready; empty = nothing.
    pub ready_code: String,
    /// Keys a citizen may choose in the menu; one is drawn per call, several digits are pressed one after another.
    pub keys: Vec<String>,
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    pub calls: AtomicU64,
    pub answered: AtomicU64,
    pub talked: AtomicU64,
    pub abandoned: AtomicU64,
    pub redialled: AtomicU64,
    pub refused: AtomicU64,
    pub offers: AtomicU64,
    pub missed: AtomicU64,
    /// Talks in which the agent heard the citizen too.
    pub heard: AtomicU64,
    /// Citizens who chose to be called instead of waiting, calls of the line to citizens, and of these those picked up.
    pub booked: AtomicU64,
    pub called_back: AtomicU64,
    pub picked_up: AtomicU64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [calls, answered, talked, abandoned, redialled, refused, offers, missed, heard, booked, called_back, picked_up] = [
            &self.calls,
            &self.answered,
            &self.talked,
            &self.abandoned,
            &self.redialled,
            &self.refused,
            &self.offers,
            &self.missed,
            &self.heard,
            &self.booked,
            &self.called_back,
            &self.picked_up,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        write!(
            f,
            "calls {calls}, answered {answered}, talked {talked}, abandoned {abandoned}, redialled {redialled}, refused {refused}; \
             offers {offers}, missed {missed}, heard the citizen {heard}; \
             booked a callback {booked}, called back {called_back}, picked up {picked_up}"
        )
    }
}

/// One citizen, as drawn from the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Citizen {
    /// Time after the citizen before.
    pub after: Duration,
    pub number: String,
    pub listens: Duration,
    pub key: usize,
    pub patience: Duration,
    /// Hangs up first after so long a talk; else leaves it to the agent.
    pub talks: Option<Duration>,
    pub redials_after: Option<Duration>,
    pub pitch: f64,
    /// Chooses so late, by this key, to be called instead of waiting.
    pub books: Option<(Duration, char)>,
}

/// What a citizen does whom the line calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AtHome {
    PicksUp { after: Duration },
    Busy,
    Out,
}

/// What an agent does with one offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Habit {
    /// `None`: lets it ring.
    pub answers_after: Option<Duration>,
    pub talks: Duration,
}

/// The citizens of a seed, without end.
pub fn citizens(seed: u64, per_minute: f64, keys: usize) -> impl Iterator<Item = Citizen> {
    let mut dice = Dice::new(seed);
    std::iter::repeat_with(move || Citizen {
        after: dice.exponential(60.0 / per_minute.max(0.01)),
        number: format!("+7999000{:04}", dice.below(10_000)),
        listens: dice.between(2.0, 6.0),
        key: dice.below(keys.max(1) as u64) as usize,
        patience: Duration::from_secs(15) + dice.exponential(90.0),
        talks: dice.chance(0.2).then(|| dice.between(8.0, 30.0)),
        redials_after: dice.chance(0.4).then(|| dice.between(5.0, 30.0)),
        pitch: 100.0 + dice.below(120) as f64,
        books: dice.chance(0.15).then(|| (dice.between(8.0, 15.0), if dice.chance(0.5) { '2' } else { '3' })),
    })
}

/// Of those who are called back 60 % pick up; half of the others talk with somebody else, half are out.
pub fn at_home(seed: u64) -> impl Iterator<Item = AtHome> {
    let mut dice = Dice::new(seed ^ 0x5bd1_e995);
    std::iter::repeat_with(move || match dice.below(10) {
        0..6 => AtHome::PicksUp { after: dice.between(2.0, 8.0) },
        6..8 => AtHome::Busy,
        _ => AtHome::Out,
    })
}

/// The habits of one agent of a seed, one for each offer.
pub fn habits(seed: u64, agent: usize) -> impl Iterator<Item = Habit> {
    let mut dice = Dice::new(seed ^ (agent as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    std::iter::repeat_with(move || Habit {
        answers_after: (!dice.chance(0.06)).then(|| dice.between(1.0, 3.0)),
        talks: dice.between(10.0, 40.0),
    })
}

/// How long a phone waits for the line's word when it signs off.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs until `stop`, then ends every call with BYE and takes the registrations back.
pub async fn run(plan: Plan, stop: impl Future<Output = ()>) -> std::io::Result<Arc<Tally>> {
    let tally = Arc::new(Tally::default());
    let trunk = Arc::new(Phone::bind(plan.trunk)?);
    let desk = || Phone::bind(SocketAddr::new(plan.desks, 0)).map(Arc::new);
    let agents = plan.agents.iter().map(|_| desk()).collect::<std::io::Result<Vec<_>>>()?;
    let mut days = JoinSet::new();
    days.spawn(called_back(trunk.clone(), plan.seed, tally.clone()));
    for (index, (phone, name)) in agents.iter().zip(&plan.agents).enumerate() {
        days.spawn(agent_day(phone.clone(), name.clone(), index, plan.clone(), tally.clone()));
    }
    tokio::select! {
        () = stop => {}
        () = arrivals(trunk.clone(), &plan, &tally) => {}
    }
    days.shutdown().await;
    info!("ending all calls");
    trunk.hang_up_all().await;
    let mut leaving: JoinSet<()> = agents
        .into_iter()
        .map(|agent| async move {
            agent.hang_up_all().await;
            // A line that is gone already needs no word.
            let _ = tokio::time::timeout(GOODBYE, agent.unregister()).await;
        })
        .collect();
    while leaving.join_next().await.is_some() {}
    Ok(tally)
}

/// Whom the line calls over the trunk: 103, which answers, or a citizen at home.
async fn called_back(trunk: Arc<Phone>, seed: u64, tally: Arc<Tally>) {
    trunk.on_invite(OnInvite::Ring);
    let mut talks = JoinSet::new();
    let mut homes = at_home(seed);
    while let Some(call) = trunk.next_call(DAY).await {
        while talks.try_join_next().is_some() {}
        let ambulance = call.invite_header("To").is_some_and(|to| to.contains("sip:103@"));
        let home = if ambulance { None } else { homes.next() };
        let tally = tally.clone();
        talks.spawn(async move {
            let after = match home {
                None => Duration::from_secs(2),
                Some(AtHome::PicksUp { after }) => after,
                Some(AtHome::Busy) => {
                    count(&tally.called_back);
                    return call.reject(486);
                }
                Some(AtHome::Out) => {
                    count(&tally.called_back);
                    let _ = call.within(TALK_MAX).wait_ended().await;
                    return;
                }
            };
            if home.is_some() {
                count(&tally.called_back);
            }
            if call.within(after).wait_ended().await.is_ok() {
                return;
            }
            call.answer();
            if home.is_some() {
                count(&tally.picked_up);
            }
            talk(&call, CITIZEN_HELLO, 140.0, TALK_MAX).await;
        });
    }
}

async fn arrivals(trunk: Arc<Phone>, plan: &Plan, tally: &Arc<Tally>) {
    let mut talking = JoinSet::new();
    for citizen in citizens(plan.seed, plan.citizens_per_minute, plan.keys.len()) {
        tokio::time::sleep(citizen.after).await;
        while talking.try_join_next().is_some() {}
        info!("{tally}");
        talking.spawn(citizen_calls(trunk.clone(), citizen, plan.clone(), tally.clone()));
    }
}

/// One citizen: a call, and perhaps a second one.
async fn citizen_calls(trunk: Arc<Phone>, citizen: Citizen, plan: Plan, tally: Arc<Tally>) {
    let gave_up = citizen_call(&trunk, &citizen, &plan, &tally).await;
    if let (true, Some(pause)) = (gave_up, citizen.redials_after) {
        tokio::time::sleep(pause).await;
        count(&tally.redialled);
        citizen_call(&trunk, &citizen, &plan, &tally).await;
    }
}

/// Returns whether the citizen gave up waiting.
async fn citizen_call(trunk: &Phone, citizen: &Citizen, plan: &Plan, tally: &Tally) -> bool {
    let who = Number::parse(&citizen.number, None).map(|number| number.to_string()).unwrap_or_default();
    let call = match trunk.call(plan.target, &plan.number, &citizen.number) {
        Ok(call) => call,
        Err(error) => {
            warn!(%error, "no port for another call");
            return false;
        }
    };
    count(&tally.calls);
    if call.within(RING).wait_answered().await.is_err() {
        count(&tally.refused);
        warn!(caller = %who, state = ?call.state(), "not answered");
        call.cancel();
        return false;
    }
    count(&tally.answered);
    if call.within(citizen.listens).wait_ended().await.is_ok() {
        return false;
    }
    for digit in plan.keys.get(citizen.key).map_or("", String::as_str).chars() {
        let _ = call.press(digit).await; // the line may have hung up: the wait below sees it
    }
    info!(caller = %who, key = plan.keys.get(citizen.key), "pressed");
    if let Some((late, key)) = citizen.books.filter(|(late, _)| *late < citizen.patience)
        && call.within(late).hears_tone(AGENT_HELLO).await.is_err()
        && !matches!(call.state(), super::CallState::Ended(_))
    {
        let _ = call.press(key).await;
        if let Ok(End::TheyHungUp) = call.within(citizen.patience).wait_ended().await {
            count(&tally.booked);
            info!(caller = %who, "is to be called back");
            return false;
        }
    }
    if call.within(citizen.patience).hears_tone(AGENT_HELLO).await.is_err() {
        let waits = !matches!(call.state(), super::CallState::Ended(_));
        if waits {
            count(&tally.abandoned);
            info!(caller = %who, "gives up");
            call.hang_up();
        }
        return waits;
    }
    count(&tally.talked);
    talk(&call, CITIZEN_HELLO, citizen.pitch, citizen.talks.unwrap_or(TALK_MAX)).await;
    info!(caller = %who, end = ?call.state(), "talk is over");
    false
}

async fn agent_day(phone: Arc<Phone>, name: String, index: usize, plan: Plan, tally: Arc<Tally>) {
    phone.on_invite(OnInvite::Ring);
    while let Err(NotGranted(status)) = phone.register(plan.target, &name, &plan.password).await {
        warn!(agent = %name, ?status, "not registered, trying again");
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    info!(agent = %name, "registered");
    if !plan.ready_code.is_empty()
        && let Ok(call) = phone.call(plan.target, &plan.ready_code, &name)
        && let Ok(End::Refused(status)) = call.wait_ended().await
    {
        warn!(agent = %name, status, "the line does not know the code {}", plan.ready_code);
    }
    for habit in habits(plan.seed, index) {
        let Some(call) = phone.next_call(DAY).await else { return };
        count(&tally.offers);
        let rings = habit.answers_after.unwrap_or(DAY);
        if call.within(rings).wait_ended().await.is_ok() {
            count(&tally.missed);
            info!(agent = %name, reason = ?call.view().reason, "offer ended unanswered");
            continue;
        }
        call.answer();
        let ear = call.within(Duration::from_secs(5));
        let heard = async {
            if ear.hears_tone(CITIZEN_HELLO).await.is_ok() {
                count(&tally.heard);
            }
        };
        tokio::join!(talk(&call, AGENT_HELLO, 110.0 + 15.0 * index as f64, habit.talks), heard);
        info!(agent = %name, "talk is over");
    }
}

/// Says hello, then speaks for so long, and hangs up if the other has not.
async fn talk(call: &PhoneCall, hello: f64, pitch: f64, length: Duration) {
    call.say(Voice::Tone(hello));
    let _ = call.within(HELLO).wait_ended().await;
    call.say(Voice::Speech { pitch });
    if call.within(length).wait_ended().await.is_err() {
        call.hang_up();
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// In [0, 1).
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    fn between(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(from + (to - from) * self.share())
    }

    /// Times between independent events, in seconds.
    fn exponential(&mut self, mean: f64) -> Duration {
        Duration::from_secs_f64(-mean * (1.0 - self.share()).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_day_and_another_seed_another() {
        let day = |seed| citizens(seed, 6.0, 3).take(50).collect::<Vec<_>>();
        assert_eq!(day(1), day(1));
        assert_ne!(day(1), day(2));
        assert_eq!(habits(1, 0).take(20).collect::<Vec<_>>(), habits(1, 0).take(20).collect::<Vec<_>>());
        assert_ne!(habits(1, 0).take(20).collect::<Vec<_>>(), habits(1, 1).take(20).collect::<Vec<_>>());
    }

    #[test]
    fn six_of_ten_citizens_pick_up() {
        let picked_up = at_home(1).take(1000).filter(|home| matches!(home, AtHome::PicksUp { .. })).count();
        assert!((570..630).contains(&picked_up), "{picked_up} of 1000");
        assert_eq!(at_home(1).take(50).collect::<Vec<_>>(), at_home(1).take(50).collect::<Vec<_>>());
    }

    #[test]
    fn citizens_come_as_often_as_asked() {
        let hour: Duration = citizens(7, 6.0, 3).take(3600).map(|citizen| citizen.after).sum();
        assert!((540.0..660.0).contains(&(hour.as_secs_f64() / 60.0)), "{hour:?} for 600 minutes' worth of citizens");
    }
}
