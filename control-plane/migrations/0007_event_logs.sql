-- The firmware's event log behind an attestation that found changed registers, and one place that says which verdicts count.

-- It comes in parts, in order; whole once next_part = parts.
CREATE TABLE event_logs (
    challenge bytea PRIMARY KEY REFERENCES attestations ON DELETE CASCADE,
    node_id bytea NOT NULL REFERENCES nodes,
    shown_at timestamptz NOT NULL DEFAULT now(),
    parts smallint NOT NULL CHECK (parts BETWEEN 1 AND 8),
    next_part smallint NOT NULL,
    log bytea NOT NULL CHECK (length(log) <= 262144)
);
CREATE INDEX event_logs_node ON event_logs (node_id, shown_at DESC);
CALL protect('event_logs', 'node');

-- Verdicts about the box that stands behind its node now. A verdict proves something, for or against the box, or is an excuse.
CREATE VIEW verdicts WITH (security_invoker = true) AS
    SELECT a.node_id, a.challenge, a.requested_at, a.sent_at, a.verdict,
      a.verdict IN ('trusted', 'changed', 'refused') AS proves
    FROM attestations a JOIN nodes n ON n.id = a.node_id
    WHERE a.verdict IS NOT NULL AND a.requested_at >= n.bound_at;
GRANT SELECT ON verdicts TO noderr_system, noderr_staff, noderr_operator, noderr_reader;
