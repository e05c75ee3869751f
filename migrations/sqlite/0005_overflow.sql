-- More words for how a wait ended: SQLite changes a check only by a new table.
CREATE TABLE queue_visits_new (
    visit   BIGINT  NOT NULL PRIMARY KEY,
    region  INTEGER NOT NULL,
    call    BLOB    NOT NULL,
    queue   TEXT    NOT NULL,
    entered BIGINT  NOT NULL,
    ended   BIGINT,
    ending  TEXT CHECK (ending IN ('answered', 'abandoned', 'waited_too_long', 'full', 'transferred', 'engine_failed', 'callback_booked',
                                   'closed', 'no_agents', 'estimate_too_long'))
);
INSERT INTO queue_visits_new SELECT visit, region, call, queue, entered, ended, ending FROM queue_visits;
DROP TABLE queue_visits;
ALTER TABLE queue_visits_new RENAME TO queue_visits;
CREATE INDEX queue_visits_call ON queue_visits (call);
