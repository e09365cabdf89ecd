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
-- Administrators revive and remove what was given up.
GRANT UPDATE, DELETE ON work TO noderr_staff;
CREATE POLICY staff_delete ON work FOR DELETE TO noderr_staff USING (dead_at IS NOT NULL);

-- The one way to enqueue: whoever acts does, in the transaction of the act. A piece that waits with the same key is
-- renewed and not passed by: it stays locked until the act is committed, so that no worker takes the piece before it can see
-- what the act has changed. A piece that waits out a failure is due at once, with new attempts.
CREATE FUNCTION enqueue_work(piece uuid, queue text, dedupe_key text, payload jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    INSERT INTO public.work AS waiting (id, queue, dedupe_key, payload) VALUES (piece, queue, dedupe_key, payload)
    ON CONFLICT (queue, dedupe_key) WHERE dead_at IS NULL AND lease IS NULL
    DO UPDATE SET payload = excluded.payload, run_at = least(waiting.run_at, now()), attempts = 0
$$;
ALTER TABLE work OWNER TO noderr_keeper;
ALTER FUNCTION enqueue_work(uuid, text, text, jsonb) OWNER TO noderr_keeper;
REVOKE INSERT ON work FROM noderr_system;
REVOKE EXECUTE ON FUNCTION enqueue_work(uuid, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enqueue_work(uuid, text, text, jsonb) TO noderr_system, noderr_staff, noderr_operator;
