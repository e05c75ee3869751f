-- What becomes of a recording after its call.

ALTER TABLE recordings ADD COLUMN failed       TEXT;
ALTER TABLE recordings ADD COLUMN packed       BIGINT;
ALTER TABLE recordings ADD COLUMN sealed       TEXT;
ALTER TABLE recordings ADD COLUMN bytes        BIGINT;
ALTER TABLE recordings ADD COLUMN sha256       TEXT;
ALTER TABLE recordings ADD COLUMN key          TEXT;
ALTER TABLE recordings ADD COLUMN archived     BIGINT;
ALTER TABLE recordings ADD COLUMN place        TEXT;
ALTER TABLE recordings ADD COLUMN not_archived TEXT;
-- Whether the sealed file lies here, not only in the archive.
ALTER TABLE recordings ADD COLUMN here         BOOLEAN NOT NULL DEFAULT true;
ALTER TABLE recordings ADD COLUMN deleted      BIGINT;
ALTER TABLE recordings ADD COLUMN gone         TEXT CHECK (gone IN ('retention', 'missing', 'forgotten'));
CREATE INDEX recordings_to_pack ON recordings (started) WHERE packed IS NULL AND deleted IS NULL;
CREATE INDEX recordings_to_archive ON recordings (packed) WHERE archived IS NULL AND deleted IS NULL AND not_archived IS NULL;

-- No fact: how often the next step was tried.
CREATE TABLE recording_attempts (
    file     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    attempts BIGINT  NOT NULL,
    next_at  BIGINT  NOT NULL
);

-- Who listened.
CREATE TABLE recording_hearings (
    hearing BIGINT  NOT NULL PRIMARY KEY,
    region  BIGINT  NOT NULL,
    call    UUID    NOT NULL,
    file    TEXT    NOT NULL,
    at      BIGINT  NOT NULL,
    who     TEXT    NOT NULL
);
CREATE INDEX recording_hearings_call ON recording_hearings (call);
