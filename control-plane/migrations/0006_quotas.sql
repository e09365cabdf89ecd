-- What each lane has stored on a day: beyond its quota a node's records become one growing gap.
ALTER TABLE lanes
    -- The day (UTC) that the numbers below are of.
    ADD COLUMN day date NOT NULL DEFAULT 'epoch',
    ADD COLUMN rows_today bigint NOT NULL DEFAULT 0,
    ADD COLUMN bytes_today bigint NOT NULL DEFAULT 0,
    ADD COLUMN refused_today bigint NOT NULL DEFAULT 0,
    -- The first and the last number of the gap that still grows; 0 if none does.
    ADD COLUMN refused_first bigint NOT NULL DEFAULT 0,
    ADD COLUMN refused_last bigint NOT NULL DEFAULT 0;
