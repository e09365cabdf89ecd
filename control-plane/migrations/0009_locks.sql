-- What whoever has SQL as the API's role can stop, and when a box is asked anew.

-- A right to update some columns is enough for every statement of the API, and not enough to lock a table against everybody. (Three
-- tables from which staff delete can still be locked: barred_tpms, expected_registers, work.)
DO $$
DECLARE
    entry record;
    columns text;
BEGIN
    FOR entry IN
        SELECT table_name, grantee FROM information_schema.role_table_grants
        WHERE table_schema = 'public' AND privilege_type = 'UPDATE' AND grantee IN ('noderr_staff', 'noderr_operator')
    LOOP
        SELECT string_agg(quote_ident(column_name), ', ') INTO columns FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = entry.table_name AND is_generated = 'NEVER' AND is_identity = 'NO';
        EXECUTE format('REVOKE UPDATE ON %I FROM %I', entry.table_name, entry.grantee);
        EXECUTE format('GRANT UPDATE (%s) ON %I TO %I', columns, entry.table_name, entry.grantee);
    END LOOP;
END $$;

-- The control plane sees, and ends, transactions of the API that last longer than any request.
GRANT noderr_api TO noderr_system;

-- The boot epoch in which a node was last asked what it has started: another start is another question.
ALTER TABLE heartbeats ADD COLUMN asked_epoch bigint;
UPDATE heartbeats SET asked_epoch = epoch;
