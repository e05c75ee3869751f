//! Traces, rosters and what is made of them, as files; gzipped or not.

use anyhow::Context;
use dozvon::simulate::{Roster, Trace};
use std::io::{Read, Write};
use std::path::Path;

pub fn trace_of(path: &Path) -> anyhow::Result<Trace> {
    Trace::parse(&text_of(path)?).with_context(|| path.display().to_string())
}

pub fn roster_of(path: &Path) -> anyhow::Result<Roster> {
    Roster::parse(&text_of(path)?).with_context(|| path.display().to_string())
}

/// What begins like gzip is unpacked, whatever its name.
pub fn text_of(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
    } else {
        bytes.as_slice().read_to_string(&mut text)
    }
    .with_context(|| format!("{} is no text", path.display()))?;
    Ok(text)
}

/// What is named like gzip is packed.
pub fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let bytes = if path.extension().is_some_and(|end| end == "gz") {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text.as_bytes())?;
        packer.finish()?
    } else {
        text.as_bytes().to_vec()
    };
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}
