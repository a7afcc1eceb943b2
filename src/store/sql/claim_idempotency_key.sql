-- store::idempotency: notes which request a key stands for, unless it stands for one already; forgets a few old keys
-- Returns the request that it stands for now.
WITH forgotten AS (
    -- More than one for each new one, so that the table does not grow beyond what is remembered.
    DELETE FROM idempotency_keys k
    WHERE (k.tenant_id, k.sender, k.key) IN (
        SELECT o.tenant_id, o.sender, o.key FROM idempotency_keys o
        WHERE o.first_at < /* remembered since */ $6 AND (o.tenant_id, o.sender, o.key) <> ($1, $2, $3)
        ORDER BY o.first_at LIMIT 10 FOR UPDATE SKIP LOCKED)
)
INSERT INTO idempotency_keys AS held (tenant_id, sender, key, request, first_at)
VALUES (/* tenant */ $1, /* sender */ $2, /* key */ $3, /* request */ $4, /* now */ $5)
-- Updated in any case, because only then the row is returned that another request has inserted meanwhile.
ON CONFLICT ON CONSTRAINT idempotency_keys_pk DO UPDATE SET
    request = CASE WHEN held.first_at < $6 THEN excluded.request ELSE held.request END,
    first_at = CASE WHEN held.first_at < $6 THEN excluded.first_at ELSE held.first_at END
RETURNING held.request
