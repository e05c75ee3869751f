//! The door to the booking core, in the words of the line.
