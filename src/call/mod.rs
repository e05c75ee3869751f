//! The conductor: the shell of robot, talk and queue.

mod board;
mod conductor;
mod hours;
mod house;
mod legs;
mod live_call;
mod obey;
mod recovery;
pub mod request;
pub mod serve;
mod take_in;
mod take_over;
pub mod term;
pub mod view;

pub use conductor::{Conductor, Doors};
pub use house::House;
pub use recovery::{Restored, restore};
