-- store::alerts: deletes some alerts of before a moment, with what became of their deliveries; none of a cycle that goes on
DELETE FROM usage_alerts a WHERE a.id = ANY (ARRAY(
    SELECT o.id FROM usage_alerts o WHERE o.raised_at < $1 AND o.cycle_end < $1 ORDER BY o.id LIMIT $2 FOR UPDATE SKIP LOCKED))
