-- Behind an external broker every instance hears every node. Each node belongs to a share, and one instance at a time serves a share.

-- Which instances live behind an external broker.
CREATE TABLE instances (
    id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CALL protect('instances', 'system');

CREATE TABLE broker_shares (
    share smallint PRIMARY KEY CHECK (share BETWEEN 0 AND 15),
    -- Until then nobody else serves the share.
    held_by uuid NOT NULL,
    held_until timestamptz NOT NULL
);
CALL protect('broker_shares', 'system');
