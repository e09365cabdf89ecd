-- What a release costs a box that holds the version before.
ALTER TABLE releases
    ADD COLUMN update_from text,
    ADD COLUMN update_bytes bigint,
    ADD CHECK ((update_from IS NULL) = (update_bytes IS NULL));
GRANT UPDATE (update_from, update_bytes) ON releases TO noderr_staff;
