-- What agents said came of their talks.
CREATE TABLE talk_codes (
    given  BIGINT  NOT NULL PRIMARY KEY,
    region INTEGER NOT NULL,
    call   BLOB    NOT NULL,
    agent  TEXT    NOT NULL,
    queue  TEXT    NOT NULL,
    at     BIGINT  NOT NULL,
    code   TEXT    NOT NULL,
    title  TEXT    NOT NULL
);
CREATE INDEX talk_codes_call ON talk_codes (call);

-- What supervisors said agents are to be, and why.
CREATE TABLE agent_overrides (
    word   BIGINT  NOT NULL PRIMARY KEY,
    region INTEGER NOT NULL,
    agent  TEXT    NOT NULL,
    at     BIGINT  NOT NULL,
    state  TEXT    NOT NULL CHECK (state IN ('ready', 'on_break', 'offline')),
    reason TEXT,
    who    TEXT    NOT NULL,
    why    TEXT    NOT NULL
);
