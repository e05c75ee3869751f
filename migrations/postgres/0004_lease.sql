-- Whose the line is, if engines hold a lease: no row, or one. The epoch is a key, so that a change of it waits for whoever reads the
-- row to the end of a transaction, and a renewal does not.
CREATE TABLE lease (
    epoch   BIGINT      NOT NULL PRIMARY KEY,
    line    BIGINT      NOT NULL DEFAULT 1 UNIQUE CHECK (line = 1),
    owner   TEXT        NOT NULL,
    expires TIMESTAMPTZ NOT NULL
);

-- Who does not hold it folds nothing: an engine that was stopped for a while wakes up with facts that did not happen.
CREATE FUNCTION only_the_line_folds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM lease WHERE owner || '/' || epoch = current_setting('dozvon.lease', true) FOR KEY SHARE;
    IF NOT FOUND AND EXISTS (SELECT 1 FROM lease) THEN
        RAISE EXCEPTION 'another engine is the line: it holds the lease';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER only_the_line_folds BEFORE UPDATE ON fold_position FOR EACH ROW EXECUTE FUNCTION only_the_line_folds();
