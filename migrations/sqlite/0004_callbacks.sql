-- Calls that go out, for a task; and how far a task has come.

ALTER TABLE calls ADD COLUMN callback BIGINT;
CREATE INDEX calls_callback ON calls (callback) WHERE callback IS NOT NULL;

-- More words of endings: SQLite changes a check only by a new table.
CREATE TABLE callbacks_new (
    task         BIGINT  NOT NULL PRIMARY KEY,
    region       INTEGER NOT NULL,
    person       BLOB    NOT NULL,
    call         BLOB    NOT NULL,
    outcome      TEXT    NOT NULL,
    opened       BIGINT  NOT NULL,
    misses       BIGINT  NOT NULL,
    last_call    BLOB    NOT NULL,
    last_missed  BIGINT  NOT NULL,
    taken_by     TEXT,
    taken        BIGINT,
    closed       BIGINT,
    ending       TEXT CHECK (ending IN ('got_through', 'reached', 'attempts_ended', 'closed_by_hand', 'wrong_number')),
    booking      TEXT CHECK (booking IN ('place', 'later')),
    promised     BIGINT,
    attempts     BIGINT,
    last_attempt BIGINT,
    last_end     TEXT CHECK (last_end IN ('reached', 'busy', 'no_answer', 'failed', 'agent_left', 'voicemail', 'wrong_number', 'trunk_failed'))
);
INSERT INTO callbacks_new (task, region, person, call, outcome, opened, misses, last_call, last_missed, taken_by, taken, closed, ending)
    SELECT task, region, person, call, outcome, opened, misses, last_call, last_missed, taken_by, taken, closed, ending FROM callbacks;
DROP TABLE callbacks;
ALTER TABLE callbacks_new RENAME TO callbacks;
CREATE INDEX callbacks_open ON callbacks (region, opened) WHERE closed IS NULL;
CREATE INDEX callbacks_person ON callbacks (person);

CREATE TABLE queue_visits_new (
    visit   BIGINT  NOT NULL PRIMARY KEY,
    region  INTEGER NOT NULL,
    call    BLOB    NOT NULL,
    queue   TEXT    NOT NULL,
    entered BIGINT  NOT NULL,
    ended   BIGINT,
    ending  TEXT CHECK (ending IN ('answered', 'abandoned', 'waited_too_long', 'full', 'transferred', 'engine_failed', 'callback_booked'))
);
INSERT INTO queue_visits_new SELECT visit, region, call, queue, entered, ended, ending FROM queue_visits;
DROP TABLE queue_visits;
ALTER TABLE queue_visits_new RENAME TO queue_visits;
CREATE INDEX queue_visits_call ON queue_visits (call);
