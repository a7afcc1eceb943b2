-- store::mqtt_groups: removes what members have taken, or what gave way
DELETE FROM mqtt_group_messages held
USING unnest(/* tenant_id */ $2::integer[], /* share_name */ $3::text[], /* filter */ $4::text[], /* oldest */ $5::bigint[])
      AS left_over (tenant_id, share_name, filter, oldest)
WHERE held.instance = /* instance */ $1 AND held.tenant_id = left_over.tenant_id
  AND held.share_name = left_over.share_name AND held.filter = left_over.filter AND held.position < left_over.oldest
