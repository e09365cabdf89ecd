-- The foundation: operators, nodes and their certificates, what nodes report, who may ask, what was done.
--
-- Roles. The owner migrates and does nothing else. `noderr_keeper` owns what only functions may touch and never logs in.
-- `noderr_system` is the control plane itself: ingest, enrolment, jobs, logins. `noderr_api` answers requests: it has no
-- rights of its own and takes on, for one transaction, those of `noderr_staff` (everything an administrator may),
-- `noderr_operator` (what belongs to the operator named in `noderr.operator`) or `noderr_public` (nothing yet).
-- `noderr_reader` reads everything but secrets and changes nothing.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['noderr_system LOGIN', 'noderr_api LOGIN NOINHERIT', 'noderr_reader LOGIN', 'noderr_staff NOLOGIN',
        'noderr_operator NOLOGIN', 'noderr_public NOLOGIN', 'noderr_keeper NOLOGIN'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = split_part(role, ' ', 1)) THEN EXECUTE 'CREATE ROLE ' || role; END IF;
    END LOOP;
    -- An owner who is no superuser must be a member to take the roles on.
    EXECUTE format('GRANT noderr_system, noderr_keeper, noderr_staff, noderr_operator, noderr_public TO %I', current_user);
    GRANT noderr_staff, noderr_operator, noderr_public TO noderr_api;
    -- A temporary table goes before a real one of the same name: a function that runs with its owner's rights must not meet one.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    GRANT CREATE ON SCHEMA public TO noderr_keeper;
END $$;

CREATE TYPE operator_state AS ENUM ('applied', 'approved', 'suspended');
CREATE TYPE identity_kind AS ENUM ('tpm', 'software');
CREATE TYPE lane AS ENUM ('alert', 'result', 'telemetry');
CREATE TYPE exchange_purpose AS ENUM ('enrol', 'renew');
CREATE TYPE verdict AS ENUM ('trusted', 'changed', 'refused', 'unavailable', 'silent', 'software');

-- The operator on whose behalf this transaction runs.
CREATE FUNCTION noderr_operator_id() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('noderr.operator', true), '')::uuid $$;

-- Row-level security for a table: who may see a row, and who may change it. Every table is protected in one of these ways:
--   'system'    for the control plane alone
--   'staff'     administrators too
--   'operator'  the operator in `operator_id` sees the row
--   'node'      the operator of the node in `node_id` sees the row
-- What staff and operators may do at all is granted beside it, command by command.
CREATE PROCEDURE protect(protected regclass, kind text) LANGUAGE plpgsql AS $$
DECLARE
    own text := CASE kind
        WHEN 'operator' THEN 'operator_id = noderr_operator_id()'
        WHEN 'node' THEN format('EXISTS (SELECT FROM nodes n WHERE n.id = %s.node_id)', protected)
    END;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', protected);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO noderr_system', protected);
    EXECUTE format('CREATE POLICY system ON %s TO noderr_system USING (true) WITH CHECK (true)', protected);
    IF kind <> 'system' THEN
        EXECUTE format('GRANT SELECT ON %s TO noderr_reader', protected);
        EXECUTE format('CREATE POLICY reader ON %s FOR SELECT TO noderr_reader USING (true)', protected);
        EXECUTE format('GRANT SELECT ON %s TO noderr_staff', protected);
        EXECUTE format('CREATE POLICY staff_select ON %s FOR SELECT TO noderr_staff USING (true)', protected);
        EXECUTE format('CREATE POLICY staff_insert ON %s FOR INSERT TO noderr_staff WITH CHECK (true)', protected);
        EXECUTE format('CREATE POLICY staff_update ON %s FOR UPDATE TO noderr_staff USING (true) WITH CHECK (true)', protected);
    END IF;
    IF own IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON %s TO noderr_operator', protected);
        EXECUTE format('CREATE POLICY operator_select ON %s FOR SELECT TO noderr_operator USING (%s)', protected, own);
    END IF;
END $$;

CREATE TABLE admins (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    password_hash text NOT NULL,
    roles text[] NOT NULL DEFAULT '{owner}' CHECK (cardinality(roles) > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Second factors of administrators (RFC 6238); for the control plane alone.
CREATE TABLE second_factors (
    admin_id uuid PRIMARY KEY REFERENCES admins ON DELETE CASCADE,
    secret bytea NOT NULL,
    -- Not before a first code has shown that the authenticator has the secret; that may not take long.
    confirmed boolean NOT NULL DEFAULT false,
    begun_at timestamptz NOT NULL DEFAULT now(),
    -- Of the last code that was taken; none before it is taken again.
    step bigint NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    failed_at timestamptz NOT NULL DEFAULT 'epoch'
);

CREATE TABLE operators (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE CHECK (email = lower(email)),
    state operator_state NOT NULL DEFAULT 'applied',
    created_at timestamptz NOT NULL DEFAULT now(),
    decided_at timestamptz
);

-- A session is of an administrator or of an operator.
CREATE TABLE sessions (
    hash bytea PRIMARY KEY,
    admin_id uuid REFERENCES admins ON DELETE CASCADE,
    operator_id uuid REFERENCES operators ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When the person last gave a password, and a code if there is a second factor.
    proven_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK (num_nonnulls(admin_id, operator_id) = 1)
);
CREATE INDEX sessions_admin ON sessions (admin_id);

CREATE TABLE api_tokens (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL UNIQUE,
    name text NOT NULL,
    permissions text[] NOT NULL,
    -- Bound to one operator: sees that operator's rows and no others.
    operator_id uuid REFERENCES operators ON DELETE CASCADE,
    -- The administrator who answers for it: a token goes when its owner goes.
    owner_id uuid NOT NULL REFERENCES admins ON DELETE CASCADE,
    created_by text NOT NULL,
    -- The token it was issued with: goes when that one goes.
    parent uuid REFERENCES api_tokens,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX api_tokens_owner ON api_tokens (owner_id);
CREATE INDEX api_tokens_parent ON api_tokens (parent);

CREATE TABLE nodes (
    id bytea PRIMARY KEY CHECK (length(id) = 32),
    operator_id uuid NOT NULL REFERENCES operators,
    label text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    enrolled_at timestamptz,
    revoked_at timestamptz,
    revoked_reason text,
    kind identity_kind,
    -- The TPM this id is bound to, and whether a vendor's certificate vouched for it.
    ek_fingerprint bytea,
    ek_certified boolean NOT NULL DEFAULT false,
    ak_public bytea,
    tls_key bytea,
    -- What signs the node's results: an uncompressed P-256 point.
    result_key bytea,
    -- Register index -> hex value, as found at enrolment or as accepted by an admin since.
    pcr_baseline jsonb,
    desired_version bigint NOT NULL DEFAULT 1,
    desired_paused boolean NOT NULL DEFAULT false,
    desired_sample_every_s integer NOT NULL DEFAULT 10 CHECK (desired_sample_every_s BETWEEN 1 AND 3600),
    -- The sections that were last sent, as the wire has them; NULL where this version was not sent yet.
    desired_sent bytea,
    -- The version that the node last reported on, and what has become of each of its sections: kind, phase, error.
    actual_version bigint NOT NULL DEFAULT 0,
    actual_sections jsonb NOT NULL DEFAULT '[]'
);

-- The number of a new document. From the clock, so that a database that lost its last changes (a restored dump, a replica that
-- was behind) never gives out a number again that a node has seen.
CREATE FUNCTION next_desired_version(current bigint) RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT greatest(current + 1, extract(epoch FROM now())::bigint) $$;

CREATE INDEX nodes_operator ON nodes (operator_id);
CREATE INDEX nodes_created ON nodes (created_at, id);
-- One box, one node: a TPM stands behind at most one id that is not revoked.
CREATE UNIQUE INDEX nodes_one_per_tpm ON nodes (ek_fingerprint) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX nodes_one_per_key ON nodes (tls_key) WHERE revoked_at IS NULL;

-- The nodes that may come in and be heard: not revoked, and of an operator who is in good standing.
CREATE VIEW admitted WITH (security_invoker = true) AS
    SELECT n.id FROM nodes n JOIN operators o ON o.id = n.operator_id WHERE n.revoked_at IS NULL AND o.state = 'approved';

CREATE TABLE install_tokens (
    id uuid PRIMARY KEY,
    node_id bytea NOT NULL REFERENCES nodes,
    hash bytea NOT NULL UNIQUE,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX install_tokens_node ON install_tokens (node_id);

-- One attempt to enrol, from its beginning; a renewal only once it has proven who asks.
CREATE TABLE enrolments (
    session bytea PRIMARY KEY CHECK (length(session) = 32),
    purpose exchange_purpose NOT NULL,
    node_id bytea NOT NULL REFERENCES nodes,
    token_id uuid REFERENCES install_tokens,
    kind identity_kind NOT NULL,
    ek_fingerprint bytea,
    ek_certified boolean NOT NULL DEFAULT false,
    ak_public bytea,
    tls_public bytea,
    pcr_mask integer NOT NULL,
    -- The firmware's measurements behind the quoted registers, where the box could read them.
    event_log bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    finished_at timestamptz,
    outcome text
);
CREATE INDEX enrolments_node ON enrolments (node_id, created_at);
CREATE INDEX enrolments_token ON enrolments (token_id);
CREATE INDEX enrolments_created ON enrolments USING brin (created_at);
CREATE INDEX enrolments_open ON enrolments (expires_at) WHERE finished_at IS NULL;

CREATE TABLE node_certificates (
    serial bytea PRIMARY KEY CHECK (length(serial) = 16),
    node_id bytea NOT NULL REFERENCES nodes,
    issued_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX node_certificates_node ON node_certificates (node_id);
CREATE INDEX node_certificates_end ON node_certificates USING brin (not_after);

CREATE TABLE attestations (
    challenge bytea PRIMARY KEY CHECK (length(challenge) = 16),
    node_id bytea NOT NULL REFERENCES nodes,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    -- First handed to the node: from then on its time to answer runs.
    sent_at timestamptz,
    nonce bytea NOT NULL,
    pcr_mask integer NOT NULL,
    answered_at timestamptz,
    verdict verdict,
    detail text,
    pcrs jsonb
);
CREATE INDEX attestations_node ON attestations (node_id, requested_at DESC);
-- One question at a time: whoever asks meanwhile waits for the same answer.
CREATE UNIQUE INDEX attestations_open ON attestations (node_id) WHERE verdict IS NULL;

-- The last word of each node: who is there, on which instance, how it feels.
CREATE TABLE heartbeats (
    node_id bytea PRIMARY KEY REFERENCES nodes,
    online boolean NOT NULL DEFAULT false,
    instance uuid,
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    software text,
    architecture text,
    -- The newest wire version that the node reads, and the sections that it reads: kind, newest version.
    speaks smallint NOT NULL DEFAULT 1,
    knows jsonb NOT NULL DEFAULT '[]',
    epoch bigint NOT NULL DEFAULT 0,
    node_time timestamptz,
    uptime_s bigint,
    failing text[] NOT NULL DEFAULT '{}',
    backlog bigint NOT NULL DEFAULT 0,
    lost bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- How far each lane is committed. Locked while a batch is stored: this row is what makes storing exactly once.
CREATE TABLE lanes (
    node_id bytea NOT NULL REFERENCES nodes,
    lane lane NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (node_id, lane)
) WITH (fillfactor = 50);

-- Numbers that will never come, and why.
CREATE TABLE gaps (
    node_id bytea NOT NULL REFERENCES nodes,
    lane lane NOT NULL,
    epoch bigint NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    reason text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX gaps_node ON gaps (node_id, lane, first_seq);
CREATE INDEX gaps_received ON gaps USING brin (received_at);

CREATE TABLE alerts (
    node_id bytea NOT NULL REFERENCES nodes,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    raised_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    code text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (node_id, epoch, seq)
);
CREATE INDEX alerts_received ON alerts USING brin (received_at);

-- Records this version cannot read (a newer node, or garbage): kept, so that their numbers are accounted for.
CREATE TABLE unreadable_records (
    node_id bytea NOT NULL REFERENCES nodes,
    lane lane NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    body bytea NOT NULL,
    PRIMARY KEY (node_id, lane, epoch, seq)
);
CREATE INDEX unreadable_records_received ON unreadable_records USING brin (received_at);

-- What was measured has a column for each metric that this version knows, which `keep_telemetry_columns` adds.
-- Partitioned by the day of arrival: a box may come back after a month, or with a clock that is years off.
CREATE TABLE telemetry (
    node_id bytea NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    sampled_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL
) PARTITION BY RANGE (received_at);
CREATE INDEX telemetry_node ON telemetry (node_id, sampled_at);

-- Adds the columns of metrics that are missing. Runs as the table's owner. Whoever waits for the lock of the table makes
-- everybody else wait for it too: not for long.
CREATE FUNCTION keep_telemetry_columns(metrics text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    metric text;
    added integer := 0;
BEGIN
    -- Instances that start together must not add the same column.
    PERFORM pg_advisory_xact_lock(7061756469740003);
    FOREACH metric IN ARRAY metrics LOOP
        IF metric !~ '^[a-z][a-z0-9_]{0,40}$' THEN RAISE EXCEPTION 'a metric is not called %', metric; END IF;
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'public.telemetry'::regclass AND attname = metric
                       AND NOT attisdropped) THEN
            EXECUTE format('ALTER TABLE public.telemetry ADD COLUMN %I bigint', metric);
            added := added + 1;
        END IF;
    END LOOP;
    RETURN added;
END $$;

-- Makes the partitions of today and the days ahead, drops those past retention. Runs as the tables' owner.
CREATE FUNCTION keep_telemetry_partitions(ahead integer, keep integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    day date;
    part record;
    changed integer := 0;
BEGIN
    -- Instances that start together must not make the same partition.
    PERFORM pg_advisory_xact_lock(7061756469740002);
    FOR day IN SELECT generate_series(current_date, current_date + ahead, interval '1 day')::date LOOP
        IF to_regclass('public.telemetry_' || to_char(day, 'YYYYMMDD')) IS NULL THEN
            EXECUTE format('CREATE TABLE public.%I PARTITION OF public.telemetry FOR VALUES FROM (%L) TO (%L)',
                           'telemetry_' || to_char(day, 'YYYYMMDD'), day, day + 1);
            changed := changed + 1;
        END IF;
    END LOOP;
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'public.telemetry'::regclass AND c.relname ~ '^telemetry_\d{8}$'
                  AND to_date(right(c.relname, 8), 'YYYYMMDD') < current_date - keep LOOP
        EXECUTE format('DROP TABLE public.%I', part.relname);
        changed := changed + 1;
    END LOOP;
    RETURN changed;
END $$;

-- Who did what. Append-only, each row bound to the one before it.
CREATE TABLE audit_log (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL,
    hash bytea NOT NULL
);

-- Where the chain ends. Held by whoever writes until the transaction ends: a chain has one end.
CREATE TABLE audit_end (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_end VALUES (true, 0, '');

CREATE FUNCTION audit_hash(previous bytea, seq bigint, at timestamptz, actor text, action text, subject text, detail jsonb)
RETURNS bytea LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT sha256(previous || convert_to(
        json_build_array(seq, extract(epoch FROM at)::text, actor, action, subject, detail)::text, 'UTF8'))
$$;

-- The one way to write it: inside the transaction of the act itself.
CREATE FUNCTION audit(actor text, action text, subject text, detail jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    chain record;
    now_at timestamptz;
    next_hash bytea;
BEGIN
    SELECT e.seq, e.hash INTO chain FROM public.audit_end e FOR UPDATE;
    now_at := clock_timestamp();
    next_hash := public.audit_hash(chain.hash, chain.seq + 1, now_at, actor, action, subject, detail);
    INSERT INTO public.audit_log VALUES (chain.seq + 1, now_at, actor, action, subject, detail, next_hash);
    UPDATE public.audit_end e SET seq = chain.seq + 1, hash = next_hash;
    RETURN chain.seq + 1;
END $$;

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    EXECUTE FUNCTION audit_is_append_only();

-- Work that one instance does for all, on a beat.
CREATE TABLE jobs (
    name text PRIMARY KEY,
    every_s integer NOT NULL,
    next_run_at timestamptz NOT NULL DEFAULT now(),
    leased_by uuid,
    leased_until timestamptz
);

CREATE TABLE job_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL REFERENCES jobs,
    instance uuid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    outcome text
);
CREATE INDEX job_runs_name ON job_runs (name, started_at);
CREATE INDEX job_runs_started ON job_runs USING brin (started_at);

-- Facts that all instances must agree on, such as the authority's root certificate.
CREATE TABLE network (
    key text PRIMARY KEY,
    value text NOT NULL
);

-- Secrets that all instances share; for the control plane alone.
CREATE TABLE secrets (
    key text PRIMARY KEY,
    value bytea NOT NULL
);

-- Rights ------------------------------------------------------------------------------------------------------

DO $$
DECLARE
    entry text[];
BEGIN
    FOREACH entry SLICE 1 IN ARRAY ARRAY[
        ['admins', 'system'], ['sessions', 'system'], ['second_factors', 'system'], ['secrets', 'system'],
        ['api_tokens', 'staff'], ['audit_log', 'staff'], ['jobs', 'staff'], ['job_runs', 'staff'], ['network', 'staff'],
        ['nodes', 'operator'],
        ['install_tokens', 'node'], ['enrolments', 'node'], ['node_certificates', 'node'], ['attestations', 'node'],
        ['heartbeats', 'node'], ['lanes', 'node'], ['gaps', 'node'], ['alerts', 'node'], ['unreadable_records', 'node'],
        ['telemetry', 'node']
    ] LOOP
        EXECUTE format('CALL protect(%L, %L)', entry[1], entry[2]);
    END LOOP;
    -- An operator's own row: its id is the operator's.
    CALL protect('operators', 'staff');
    GRANT SELECT ON operators TO noderr_operator;
    CREATE POLICY operator_select ON operators FOR SELECT TO noderr_operator USING (id = noderr_operator_id());
END $$;
GRANT SELECT ON admitted TO noderr_system, noderr_staff, noderr_operator, noderr_reader;

-- Who an administrator is may be seen; what is stored of a password is for the control plane alone.
GRANT SELECT (id, email, roles, created_at) ON admins TO noderr_staff, noderr_reader;
CREATE POLICY staff_select ON admins FOR SELECT TO noderr_staff USING (true);
CREATE POLICY reader ON admins FOR SELECT TO noderr_reader USING (true);

-- What administrators may change, beside seeing.
GRANT INSERT, UPDATE ON operators, nodes, install_tokens, attestations, api_tokens TO noderr_staff;
GRANT UPDATE ON node_certificates TO noderr_staff;
GRANT UPDATE (epoch) ON heartbeats, lanes TO noderr_staff;

-- The audit log and the partitions of telemetry change through their functions only.
REVOKE INSERT, UPDATE, DELETE ON audit_log FROM noderr_system;
ALTER TABLE audit_end ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_log OWNER TO noderr_keeper;
ALTER TABLE audit_end OWNER TO noderr_keeper;
ALTER TABLE telemetry OWNER TO noderr_keeper;
ALTER FUNCTION audit(text, text, text, jsonb) OWNER TO noderr_keeper;
ALTER FUNCTION keep_telemetry_partitions(integer, integer) OWNER TO noderr_keeper;
ALTER FUNCTION keep_telemetry_columns(text[]) OWNER TO noderr_keeper;
REVOKE EXECUTE ON FUNCTION audit(text, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit(text, text, text, jsonb) TO noderr_system, noderr_staff, noderr_operator;
REVOKE EXECUTE ON FUNCTION keep_telemetry_partitions(integer, integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION keep_telemetry_columns(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_telemetry_partitions(integer, integer) TO noderr_system;
GRANT EXECUTE ON FUNCTION keep_telemetry_columns(text[]) TO noderr_system;
SELECT keep_telemetry_partitions(3, 36500);
