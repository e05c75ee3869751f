-- The folds of the journal. Time: BIGINT microseconds UTC. Calls and persons: UUID. Counted ids: BIGINT.
-- Words: TEXT with CHECK. `region` stands in every table. What has no id of its own is keyed by its position in the journal.

CREATE TABLE fold_position (
    stream   TEXT   NOT NULL PRIMARY KEY CHECK (stream IN ('facts', 'people')),
    position BIGINT NOT NULL
);
INSERT INTO fold_position (stream, position) VALUES ('facts', 0), ('people', 0);

-- One row a call, live or ended: the ledger is a count over it.
CREATE TABLE calls (
    call           UUID    NOT NULL PRIMARY KEY,
    region         BIGINT  NOT NULL,
    trunk          TEXT    NOT NULL,
    dialled        TEXT    NOT NULL,
    person         UUID,
    entered        BIGINT  NOT NULL,
    answered       BIGINT,
    script         TEXT,
    script_version BIGINT,
    theme          TEXT,
    queue          TEXT,
    urgent         BOOLEAN NOT NULL DEFAULT false,
    queue_entered  BIGINT,
    first_offer    BIGINT,
    talk_started   BIGINT,
    talk_ended     BIGINT,
    agent          TEXT,
    recording      TEXT,
    ended          BIGINT,
    outcome        TEXT CHECK (outcome IN ('served', 'self_served', 'announced', 'transferred_out', 'callback_booked', 'cancelled',
                                           'abandoned_in_menu', 'abandoned_in_queue', 'blocked', 'closed', 'failed', 'cut')),
    unreachable    BOOLEAN NOT NULL DEFAULT false,
    CHECK ((ended IS NULL) = (outcome IS NULL))
);
CREATE INDEX calls_entered ON calls (entered, region, outcome);
CREATE INDEX calls_person ON calls (person) WHERE person IS NOT NULL;

CREATE TABLE offers (
    offer  BIGINT  NOT NULL PRIMARY KEY,
    region BIGINT  NOT NULL,
    call   UUID    NOT NULL,
    agent  TEXT    NOT NULL,
    queue  TEXT    NOT NULL,
    why    TEXT    NOT NULL,
    made   BIGINT  NOT NULL,
    ended  BIGINT,
    ending TEXT CHECK (ending IN ('answered', 'withdrawn', 'no_answer', 'busy', 'rejected', 'unregistered', 'unreachable'))
);
CREATE INDEX offers_call ON offers (call);

CREATE TABLE queue_visits (
    visit   BIGINT  NOT NULL PRIMARY KEY,
    region  BIGINT  NOT NULL,
    call    UUID    NOT NULL,
    queue   TEXT    NOT NULL,
    entered BIGINT  NOT NULL,
    ended   BIGINT,
    ending  TEXT CHECK (ending IN ('answered', 'abandoned', 'waited_too_long', 'full', 'transferred', 'engine_failed'))
);
CREATE INDEX queue_visits_call ON queue_visits (call);

CREATE TABLE talks (
    talk    BIGINT  NOT NULL PRIMARY KEY,
    region  BIGINT  NOT NULL,
    call    UUID    NOT NULL,
    agent   TEXT    NOT NULL,
    queue   TEXT    NOT NULL,
    started BIGINT  NOT NULL,
    ended   BIGINT,
    ended_by TEXT CHECK (ended_by IN ('citizen', 'agent', 'engine', 'network'))
);
CREATE INDEX talks_call ON talks (call);

-- Routes out of the house that were dialled for a call.
CREATE TABLE routes (
    leg    BIGINT  NOT NULL PRIMARY KEY,
    region BIGINT  NOT NULL,
    call   UUID    NOT NULL,
    route  TEXT    NOT NULL,
    trunk  TEXT    NOT NULL,
    tried  BIGINT  NOT NULL,
    ended  BIGINT,
    ending TEXT CHECK (ending IN ('answered', 'busy', 'no_answer', 'failed', 'withdrawn'))
);
CREATE INDEX routes_call ON routes (call);

CREATE TABLE recordings (
    file    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    region  BIGINT  NOT NULL,
    call    UUID    NOT NULL,
    started BIGINT  NOT NULL,
    ended   BIGINT,
    ms      BIGINT,
    gaps    BIGINT
);
CREATE INDEX recordings_call ON recordings (call);

CREATE TABLE callbacks (
    task        BIGINT  NOT NULL PRIMARY KEY,
    region      BIGINT  NOT NULL,
    person      UUID    NOT NULL,
    call        UUID    NOT NULL,
    outcome     TEXT    NOT NULL,
    opened      BIGINT  NOT NULL,
    misses      BIGINT  NOT NULL,
    last_call   UUID    NOT NULL,
    last_missed BIGINT  NOT NULL,
    taken_by    TEXT,
    taken       BIGINT,
    closed      BIGINT,
    ending      TEXT CHECK (ending IN ('got_through', 'reached', 'attempts_ended', 'closed_by_hand'))
);
CREATE INDEX callbacks_open ON callbacks (region, opened) WHERE closed IS NULL;
CREATE INDEX callbacks_person ON callbacks (person);

CREATE TABLE agent_changes (
    change BIGINT  NOT NULL PRIMARY KEY,
    region BIGINT  NOT NULL,
    agent  TEXT    NOT NULL,
    at     BIGINT  NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('offline', 'ready', 'offered', 'talking', 'wrap_up', 'on_break')),
    reason TEXT
);
CREATE INDEX agent_changes_at ON agent_changes (at, agent);

CREATE TABLE handoffs (
    handoff   BIGINT  NOT NULL PRIMARY KEY,
    region    BIGINT  NOT NULL,
    call      UUID    NOT NULL,
    person    UUID,
    theme     TEXT,
    requested BIGINT  NOT NULL,
    settled   BIGINT,
    result    TEXT CHECK (result IN ('accepted', 'booked', 'waitlisted', 'refused')),
    reference TEXT,
    reason    TEXT
);
CREATE INDEX handoffs_call ON handoffs (call);
CREATE INDEX handoffs_open ON handoffs (requested) WHERE settled IS NULL;

-- Events for others (CloudEvents), one a fact at most; `sequence` counts within one call.
CREATE TABLE outbox (
    event    BIGINT  NOT NULL PRIMARY KEY,
    region   BIGINT  NOT NULL,
    call     UUID    NOT NULL,
    sequence BIGINT  NOT NULL,
    kind     TEXT    NOT NULL,
    at       BIGINT  NOT NULL,
    key      TEXT,
    data     TEXT    NOT NULL
);
CREATE INDEX outbox_call ON outbox (call, sequence);

-- Who stands behind a person id: the only personal data here.
CREATE TABLE people (
    person    UUID   NOT NULL PRIMARY KEY,
    phone     TEXT   NOT NULL,
    last_seen BIGINT NOT NULL
);
