//! One call as the conductor holds it: its two brains and what the board wants to know.

use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::*;
use crate::ivr::Ivr;
use crate::journal::live_calls;
use crate::pii::Phone;
use crate::talk::Talk;

pub struct LiveCall {
    pub id: CallId,
    pub region: RegionId,
    pub trunk: TrunkId,
    pub dialled: String,
    pub caller: Option<Phone>,
    pub person: Option<PersonId>,
    /// The citizen's leg.
    pub citizen: LegId,
    pub talk: Talk,
    /// It goes out: the task that it carries out, and the call that was missed.
    pub callback: Option<(TaskId, CallId)>,
    /// The last keys of its agent.
    pub agent_keys: String,
    /// There until an agent took over, or the call left the house.
    pub robot: Option<Ivr>,
    pub queue: Option<QueueId>,
    /// With which priority and urgency the citizen came to a queue last.
    pub rank: (u8, bool),
    pub theme: Option<String>,
    /// The case is due at the booking core; asked once a call.
    pub handed_off: bool,
    /// What the robot says goodbye with, as the talk was told.
    pub parting: Option<Outcome>,
    pub answered: bool,
    pub recording: Option<String>,
    pub since: Moment,
    pub stage_since: Moment,
    /// The deadline under which the call stands in the conductor's timers.
    pub timer: Option<Moment>,
}

impl LiveCall {
    /// The robot's plays count from here; ours come from the ids of the life, which are far above.
    pub const FIRST_PLAY: PlayId = PlayId(1);

    /// A call of a former life: what the facts know of it, and its brains.
    pub fn revived(id: CallId, known: &live_calls::LiveCall, caller: Option<Phone>, talk: Talk, robot: Option<Ivr>) -> Self {
        Self {
            id,
            region: known.region,
            trunk: known.trunk.clone(),
            dialled: known.dialled.clone(),
            caller,
            person: known.person,
            citizen: talk.citizen(),
            queue: talk.queue().cloned(),
            rank: known.rank,
            theme: known.theme.clone(),
            handed_off: known.handed_off,
            parting: robot.as_ref().and_then(Ivr::parting),
            answered: known.answered,
            recording: known.recording.clone(),
            since: known.entered,
            stage_since: known.since,
            timer: None,
            callback: known.callback.map(|task| (task, id)),
            agent_keys: String::new(),
            talk,
            robot,
        }
    }

    /// When one of its brains wants to be woken.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let robot = self.robot.as_ref().and_then(Ivr::poll_timeout);
        [self.talk.poll_timeout(), robot].into_iter().flatten().min()
    }
}
