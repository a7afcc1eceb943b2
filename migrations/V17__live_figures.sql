-- What is asked every few seconds while somebody watches.

CREATE INDEX usage_sessions_by_reading ON usage_sessions (tenant_id, last_sample_at);
