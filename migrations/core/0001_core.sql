-- What the embedded booking core holds. The same column forms as in the tables of the journal.

CREATE TABLE core_slots (
    slot       INTEGER PRIMARY KEY,
    region     INTEGER NOT NULL,
    service    TEXT    NOT NULL,
    doctor     TEXT    NOT NULL,
    starts     BIGINT  NOT NULL,
    -- Held by this key until then; a booking replaces the hold.
    hold       TEXT,
    hold_until BIGINT,
    booking    TEXT UNIQUE,
    UNIQUE (region, service, doctor, starts)
);
CREATE INDEX core_slots_free ON core_slots (region, service, starts) WHERE booking IS NULL;

CREATE TABLE core_waiting (
    reference TEXT    NOT NULL PRIMARY KEY,
    region    INTEGER NOT NULL,
    service   TEXT    NOT NULL,
    since     BIGINT  NOT NULL
);

CREATE TABLE core_handoffs (
    handoff   BIGINT  NOT NULL PRIMARY KEY,
    region    INTEGER NOT NULL,
    call      BLOB    NOT NULL,
    person    BLOB,
    phone     TEXT,
    theme     TEXT,
    taken     BIGINT  NOT NULL,
    result    TEXT    NOT NULL CHECK (result IN ('accepted', 'booked', 'waitlisted')),
    reference TEXT    NOT NULL
);
