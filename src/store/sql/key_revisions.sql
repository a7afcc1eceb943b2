-- store::api_keys: those of these keys that were not revoked
SELECT k.id, k.revision FROM api_keys k WHERE k.enabled AND k.id = ANY(/* keys */ $1)
