-- SIMs of one tenant among those of many, and rollup partitions that two sessions make at once.

-- Lists go by tenant and ICCID; the index of ICCIDs alone would be read through all the others' SIMs.
CREATE INDEX provisioned_sims_tenant ON provisioned_sims (tenant_id, iccid);

CREATE OR REPLACE FUNCTION ensure_rollup_partitions(earliest date, latest date) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    month   date := date_trunc('month', earliest)::date;
    name    text;
    created integer := 0;
BEGIN
    WHILE month <= latest LOOP
        name := to_char(month, '"sim_daily_usage_y"YYYY"m"MM');
        IF to_regclass(name) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('simbridge.partitions'));
            -- Asked of the catalogue itself: a session remembers that there was no such table, and no advisory lock makes it
            -- look again.
            PERFORM FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'sim_daily_usage'::regclass AND c.relname = name;
            IF NOT FOUND THEN
                EXECUTE format('CREATE TABLE %I (LIKE sim_daily_usage INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES) '
                               'WITH (fillfactor = 80)', name);
                EXECUTE format('ALTER TABLE sim_daily_usage ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                               name, month, (month + interval '1 month')::date);
                created := created + 1;
            END IF;
        END IF;
        month := (month + interval '1 month')::date;
    END LOOP;
    RETURN created;
END $$;
