//! Text to `Config`, or a sentence that names file, line and remedy.
