-- Releases: what was signed, which artefacts there are, which release each channel has, and what nodes have made of it.

CREATE TYPE node_tier AS ENUM ('oracle', 'guardian', 'validator');
-- The tier of a node; none if it has none.
ALTER TABLE nodes ADD COLUMN tier node_tier;
-- Words for the hardware that a node takes releases for: the architecture, and what the node says beside.
ALTER TABLE heartbeats ADD COLUMN hardware text[] NOT NULL DEFAULT '{}';

-- Counts what boxes may be shown: whoever changes anything below holds this row, and instances compare the number.
CREATE TABLE supply (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint NOT NULL DEFAULT 0
);
INSERT INTO supply DEFAULT VALUES;

-- Signed metadata as it was signed. Nothing here is changed; of the online roles the oldest go.
CREATE TABLE release_metadata (
    role text NOT NULL CHECK (role ~ '^[a-z0-9-]{1,64}$'),
    version bigint NOT NULL CHECK (version > 0),
    body bytea NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (role, version)
);

-- Small targets that the metadata names: manifests, and who may build.
CREATE TABLE release_targets (
    name text NOT NULL,
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    body bytea NOT NULL,
    PRIMARY KEY (name, sha256)
);

-- Archives in the object store, by their own hash.
CREATE TABLE artefacts (
    archive_sha256 bytea PRIMARY KEY CHECK (length(archive_sha256) = 32),
    archive_bytes bigint NOT NULL,
    index_bytes bigint NOT NULL,
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    content_bytes bigint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    -- When the archive was removed from the object store.
    removed_at timestamptz
);

CREATE TABLE releases (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    -- Of the manifest, by which boxes know it.
    sha256 bytea NOT NULL CHECK (length(sha256) = 32),
    archive_sha256 bytea NOT NULL REFERENCES artefacts,
    security_epoch bigint NOT NULL,
    hardware text[] NOT NULL,
    tiers text[] NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    published_by text NOT NULL,
    -- When the signed metadata ceased to name it.
    withdrawn_at timestamptz,
    UNIQUE (kind, name, version)
);

-- Which release boxes of a tier and a hardware should hold. The words `all` and `any` stand for the rest.
CREATE TABLE channels (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    name text NOT NULL,
    tier text NOT NULL,
    hardware text NOT NULL,
    release_id uuid REFERENCES releases,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (kind, name, tier, hardware)
);
CREATE INDEX channels_release ON channels (release_id);

-- What a channel had when, and by whom.
CREATE TABLE deployments (
    id uuid PRIMARY KEY,
    channel_id uuid NOT NULL REFERENCES channels,
    release_id uuid NOT NULL REFERENCES releases,
    activated_at timestamptz NOT NULL DEFAULT now(),
    activated_by text NOT NULL,
    ended_at timestamptz,
    ended_by text
);
CREATE UNIQUE INDEX deployments_open ON deployments (channel_id) WHERE ended_at IS NULL;
CREATE INDEX deployments_release ON deployments (release_id);

CREATE TYPE release_state AS ENUM ('waiting', 'fetching', 'held', 'refused');

-- What nodes have made of the releases that they should hold, as they report it.
CREATE TABLE node_releases (
    node_id bytea NOT NULL REFERENCES nodes,
    kind text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    runs text,
    state release_state NOT NULL,
    -- Why it waits or is refused: a word for programs, and words for people.
    why text,
    detail text,
    fetched_bytes bigint,
    cost_bytes bigint,
    reported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, kind, name)
);
CREATE INDEX node_releases_release ON node_releases (kind, name, version);

CALL protect('supply', 'staff');
CALL protect('release_metadata', 'staff');
CALL protect('release_targets', 'staff');
CALL protect('artefacts', 'staff');
CALL protect('releases', 'staff');
CALL protect('channels', 'staff');
CALL protect('deployments', 'staff');
CALL protect('node_releases', 'node');
GRANT UPDATE (generation) ON supply TO noderr_staff;
GRANT INSERT ON release_metadata, release_targets, artefacts, releases, channels, deployments TO noderr_staff;
GRANT UPDATE (removed_at) ON artefacts TO noderr_staff;
GRANT UPDATE (withdrawn_at) ON releases TO noderr_staff;
GRANT UPDATE (release_id, changed_at) ON channels TO noderr_staff;
GRANT UPDATE (ended_at, ended_by) ON deployments TO noderr_staff;
GRANT UPDATE (tier) ON nodes TO noderr_staff;


-- Staff delete by functions: a right to delete rows is a right to lock the whole table against everybody.
ALTER TABLE release_targets OWNER TO noderr_keeper;
CREATE FUNCTION forget_release_targets(named bytea[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (DELETE FROM public.release_targets WHERE sha256 <> ALL(named) RETURNING 1) SELECT count(*) FROM gone
$$;
ALTER FUNCTION forget_release_targets(bytea[]) OWNER TO noderr_keeper;
REVOKE EXECUTE ON FUNCTION forget_release_targets(bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_release_targets(bytea[]) TO noderr_system, noderr_staff;
