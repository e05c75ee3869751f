//! The conductor: the shell of robot, talk and queue.

pub mod request;
pub mod view;
