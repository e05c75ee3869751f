//! How long this engine may be the line, if somebody else says so.

use crate::clock::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Extended from another thread; the loop looks at it before it takes in and before it acts.
#[derive(Clone, Debug)]
pub struct Term(Arc<AtomicU64>);

impl Term {
    pub fn until(end: Moment) -> Self {
        Self(Arc::new(AtomicU64::new(end.0)))
    }

    pub fn extend(&self, end: Moment) {
        self.0.fetch_max(end.0, Ordering::AcqRel);
    }

    pub fn end(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }

    pub fn is_over(&self, now: Moment) -> bool {
        now >= self.end()
    }
}
