//! Looking after an installation: is it whole, its copy and its return, a person forgotten, the printed law of the day, a warm
//! standby, and the word to the supervisor that the loop turns. Nothing here takes part in a call.

pub mod backup;
pub mod disk;
pub mod doctor;
pub mod forget;
pub mod law;
pub mod lease;
pub mod neighbour;
pub mod standby;
pub mod supervisor;

/// What a recording is called in every form it is kept in: `day/call` of `day/call.wav` and of `day/call.ogg.sealed`.
fn stem(file: &std::path::Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(name.split('.').next().unwrap_or_default()).display().to_string()
}
