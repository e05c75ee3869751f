-- What the deliverers remember. No fold writes here.

-- Attempts to hand a case to the booking core, until the fact of its settlement.
CREATE TABLE handoff_attempts (
    handoff  BIGINT NOT NULL PRIMARY KEY,
    attempts BIGINT NOT NULL,
    next_at  BIGINT NOT NULL
);

-- One row a receiver: events up to `cursor` have been turned into deliveries.
CREATE TABLE receivers (
    receiver TEXT   NOT NULL PRIMARY KEY,
    cursor   BIGINT NOT NULL
);

-- Events that a receiver has not taken yet; those it refused for good stay with `refused` set.
CREATE TABLE deliveries (
    receiver TEXT   NOT NULL,
    event    BIGINT NOT NULL,
    call     UUID   NOT NULL,
    attempts BIGINT NOT NULL,
    next_at  BIGINT NOT NULL,
    refused  TEXT,
    PRIMARY KEY (receiver, event)
);
CREATE INDEX deliveries_due ON deliveries (receiver, next_at) WHERE refused IS NULL;
CREATE INDEX deliveries_call ON deliveries (receiver, call, event) WHERE refused IS NULL;
