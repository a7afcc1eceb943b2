-- store::mqtt_groups: removes what expired while its instance was away
DELETE FROM mqtt_group_messages WHERE instance = /* instance */ $1 AND expires_at <= /* now */ $2
