-- The work queue: pieces of work that are done once, by whichever instance takes them, however often one is killed.

CREATE TABLE work (
    id uuid PRIMARY KEY,
    queue text NOT NULL,
    -- Of several pieces with one key that wait, one is enough.
    dedupe_key text,
    payload jsonb NOT NULL,
    enqueued_at timestamptz NOT NULL DEFAULT now(),
    run_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    -- Who is at it, and until when that counts. A piece whose lease has ended is anybody's.
    lease uuid,
    leased_until timestamptz,
    last_error text,
    -- Given up: an administrator looks at it and tries again.
    dead_at timestamptz
);
CREATE INDEX work_due ON work (queue, run_at) WHERE dead_at IS NULL;
CREATE INDEX work_dead ON work (dead_at, id) WHERE dead_at IS NOT NULL;
CREATE UNIQUE INDEX work_waiting_once ON work (queue, dedupe_key) WHERE dead_at IS NULL AND lease IS NULL;

CALL protect('work', 'staff');
-- Whoever acts may enqueue in the transaction of the act; administrators may revive and remove what was given up.
GRANT INSERT, UPDATE, DELETE ON work TO noderr_staff;
GRANT INSERT ON work TO noderr_operator;
CREATE POLICY operator_insert ON work FOR INSERT TO noderr_operator WITH CHECK (true);
CREATE POLICY staff_delete ON work FOR DELETE TO noderr_staff USING (dead_at IS NOT NULL);
