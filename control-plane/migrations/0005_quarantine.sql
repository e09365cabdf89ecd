-- Attestation with teeth: who is kept out of work and why, whose TPM is barred, and which values of registers are expected.

ALTER TABLE nodes
    -- Since when this box stands behind the node; what was found before says nothing of this box.
    ADD COLUMN bound_at timestamptz,
    -- Why the node is kept out of work, in one word; NULL if it is not.
    ADD COLUMN quarantine text,
    ADD COLUMN quarantined_at timestamptz;
UPDATE nodes SET bound_at = enrolled_at WHERE kind IS NOT NULL;

-- TPMs that enrol under no node any more.
CREATE TABLE barred_tpms (
    ek_fingerprint bytea PRIMARY KEY CHECK (length(ek_fingerprint) = 32),
    reason text NOT NULL,
    -- The node that the TPM stood behind.
    node_id bytea NOT NULL REFERENCES nodes,
    barred_by text NOT NULL,
    barred_at timestamptz NOT NULL DEFAULT now()
);
CALL protect('barred_tpms', 'staff');
GRANT INSERT, UPDATE, DELETE ON barred_tpms TO noderr_staff;
CREATE POLICY staff_delete ON barred_tpms FOR DELETE TO noderr_staff USING (true);

-- Values that a person has accepted for the whole fleet: a register that shows one of them has not changed, whatever the
-- node's own baseline says.
CREATE TABLE expected_registers (
    register smallint NOT NULL CHECK (register BETWEEN 0 AND 23),
    value text NOT NULL CHECK (value ~ '^[0-9a-f]{64}$'),
    note text NOT NULL,
    accepted_by text NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (register, value)
);
CALL protect('expected_registers', 'staff');
GRANT INSERT, DELETE ON expected_registers TO noderr_staff;
CREATE POLICY staff_delete ON expected_registers FOR DELETE TO noderr_staff USING (true);

-- Install tokens can be withdrawn.
ALTER TABLE install_tokens ADD COLUMN withdrawn_at timestamptz;
