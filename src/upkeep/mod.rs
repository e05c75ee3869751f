//! Looking after an installation: is it whole, its copy and its return, a person forgotten, the printed law of the day, a warm standby, and the word
//! to the supervisor that the loop turns. Nothing here takes part in a call.

pub mod backup;
pub mod disk;
pub mod doctor;
pub mod forget;
pub mod law;
pub mod neighbour;
pub mod standby;
pub mod supervisor;
