-- Answers to requests that were made with an Idempotency-Key: a request that is sent again is answered again and not done
-- again.

CREATE TABLE idempotency (
    principal text NOT NULL,
    key text NOT NULL,
    -- SHA-256 over method, path and body: a key stands for one request.
    request bytea NOT NULL,
    -- Absent while the first request is under way.
    status smallint,
    -- Absent where the answer held a secret, which is not kept.
    body jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_created ON idempotency USING brin (created_at);

CALL protect('idempotency', 'system');
-- Each principal's own answers and nobody else's.
GRANT SELECT, INSERT, UPDATE ON idempotency TO noderr_staff, noderr_operator;
CREATE POLICY own_select ON idempotency FOR SELECT TO noderr_staff, noderr_operator
    USING (principal = current_setting('noderr.principal', true));
CREATE POLICY own_insert ON idempotency FOR INSERT TO noderr_staff, noderr_operator
    WITH CHECK (principal = current_setting('noderr.principal', true));
CREATE POLICY own_update ON idempotency FOR UPDATE TO noderr_staff, noderr_operator
    USING (principal = current_setting('noderr.principal', true)) WITH CHECK (principal = current_setting('noderr.principal', true));
