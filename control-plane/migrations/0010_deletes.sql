-- Staff delete by functions: a right to delete rows is a right to lock the whole table against everybody.

ALTER TABLE barred_tpms OWNER TO noderr_keeper;
ALTER TABLE expected_registers OWNER TO noderr_keeper;
REVOKE DELETE ON barred_tpms, expected_registers, work FROM noderr_staff;
DROP POLICY staff_delete ON barred_tpms;
DROP POLICY staff_delete ON expected_registers;
DROP POLICY staff_delete ON work;

-- Each returns how many rows are gone.
CREATE FUNCTION admit_tpm(tpm bytea) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (DELETE FROM public.barred_tpms WHERE ek_fingerprint = tpm RETURNING 1) SELECT count(*) FROM gone
$$;
CREATE FUNCTION forget_expected(of_register smallint, accepted text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (DELETE FROM public.expected_registers WHERE register = of_register AND value = accepted RETURNING 1)
    SELECT count(*) FROM gone
$$;
CREATE FUNCTION remove_dead_work(piece uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (DELETE FROM public.work WHERE id = piece AND dead_at IS NOT NULL RETURNING 1) SELECT count(*) FROM gone
$$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['admit_tpm(bytea)', 'forget_expected(smallint, text)', 'remove_dead_work(uuid)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO noderr_keeper', name);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO noderr_system, noderr_staff', name);
    END LOOP;
END $$;
