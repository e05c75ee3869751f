//! One call as the conductor holds it: its two brains and what the board wants to know.

use crate::clock::Moment;
use crate::facts::Outcome;
use crate::ids::*;
use crate::ivr::Ivr;
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
    /// There until an agent took over, or the call left the house.
    pub robot: Option<Ivr>,
    pub queue: Option<QueueId>,
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
    /// When one of its brains wants to be woken.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let robot = self.robot.as_ref().and_then(Ivr::poll_timeout);
        [self.talk.poll_timeout(), robot].into_iter().flatten().min()
    }
}
