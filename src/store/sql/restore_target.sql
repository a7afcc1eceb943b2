-- store::backup: what the server is, and what stands in the way of a restore
SELECT current_setting('server_version_num')::integer AS server_version,
       -- What an extension brought along is in nobody's way.
       (SELECT min(c.relname::text) FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype = 'e')) AS present
