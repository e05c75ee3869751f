-- Calls that go out, for a task; and how far a task has come.

ALTER TABLE calls ADD COLUMN callback BIGINT;
CREATE INDEX calls_callback ON calls (callback) WHERE callback IS NOT NULL;

ALTER TABLE callbacks DROP CONSTRAINT callbacks_ending_check;
ALTER TABLE callbacks ADD CONSTRAINT callbacks_ending_check
    CHECK (ending IN ('got_through', 'reached', 'attempts_ended', 'closed_by_hand', 'wrong_number'));
ALTER TABLE callbacks ADD COLUMN booking      TEXT CHECK (booking IN ('place', 'later'));
ALTER TABLE callbacks ADD COLUMN promised     BIGINT;
ALTER TABLE callbacks ADD COLUMN attempts     BIGINT;
ALTER TABLE callbacks ADD COLUMN last_attempt BIGINT;
ALTER TABLE callbacks ADD COLUMN last_end     TEXT
    CHECK (last_end IN ('reached', 'busy', 'no_answer', 'failed', 'agent_left', 'voicemail', 'wrong_number', 'trunk_failed'));

ALTER TABLE queue_visits DROP CONSTRAINT queue_visits_ending_check;
ALTER TABLE queue_visits ADD CONSTRAINT queue_visits_ending_check
    CHECK (ending IN ('answered', 'abandoned', 'waited_too_long', 'full', 'transferred', 'engine_failed', 'callback_booked'));
