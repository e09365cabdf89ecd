-- Partitions of telemetry that come and go without anybody waiting, and a clock for everything that is forgotten.

-- Owns the telemetry: makes its partitions and takes them away, statement by statement, because taking one away beside its
-- readers is possible only outside of a function. The control plane takes this role on for that and nothing else.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'noderr_partitions') THEN CREATE ROLE noderr_partitions NOLOGIN NOINHERIT; END IF;
    EXECUTE format('GRANT noderr_partitions TO %I', current_user);
    GRANT CREATE ON SCHEMA public TO noderr_partitions;
END $$;

-- How far time has gone for everything that is kept for a while. It follows the clock, but by no more than a day an hour: a
-- clock that is years ahead must not make everything old at once, and one that was behind is followed back.
CREATE TABLE retention_clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    at timestamptz NOT NULL
);
INSERT INTO retention_clock VALUES (true, now());
CALL protect('retention_clock', 'system');
GRANT SELECT ON retention_clock TO noderr_partitions;
CREATE POLICY partitions ON retention_clock FOR SELECT TO noderr_partitions USING (true);

CREATE FUNCTION retention_now() RETURNS timestamptz LANGUAGE sql STABLE SET search_path = pg_catalog AS
$$ SELECT at FROM public.retention_clock $$;

-- The metrics' columns are added by the owner of the table.
GRANT EXECUTE ON FUNCTION keep_telemetry_columns(text[]) TO noderr_partitions;
ALTER FUNCTION keep_telemetry_columns(text[]) OWNER TO noderr_partitions;
DROP FUNCTION keep_telemetry_partitions(integer, integer);
ALTER TABLE telemetry OWNER TO noderr_partitions;
DO $$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'telemetry'::regclass LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO noderr_partitions', part);
    END LOOP;
END $$;
-- Only the control plane itself takes the role on.
GRANT noderr_partitions TO noderr_system;
