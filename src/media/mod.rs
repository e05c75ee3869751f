//! Audio: RTP, codecs, digits, prompts, bridge, recorder; on threads of its own behind a door of plain data.

pub mod door;
