-- store::api_keys: adds what keys were used for; a key that is gone is passed over
INSERT INTO api_key_uses AS held (api_key_id, used_on, address, action, accepted, refused, first_at, last_at)
SELECT n.* FROM unnest(/* keys */ $1::integer[], /* days */ $2::date[], /* addresses */ $3::inet[], /* actions */ $4::text[],
                       /* accepted */ $5::bigint[], /* refused */ $6::bigint[], /* first */ $7::timestamptz[],
                       /* last */ $8::timestamptz[])
         AS n (api_key_id, used_on, address, action, accepted, refused, first_at, last_at)
JOIN api_keys k ON k.id = n.api_key_id
-- In one order, so that two instances never wait for each other.
ORDER BY n.api_key_id, n.used_on, n.address, n.action
ON CONFLICT (api_key_id, used_on, address, action) DO UPDATE
SET accepted = held.accepted + excluded.accepted, refused = held.refused + excluded.refused,
    first_at = least(held.first_at, excluded.first_at), last_at = greatest(held.last_at, excluded.last_at)
