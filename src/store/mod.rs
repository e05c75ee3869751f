//! The one door to SQL: folds of the journal, people, callbacks, outbox.
