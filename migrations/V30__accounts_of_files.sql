-- Files of other systems tell accounts: whoever imports them looks up the SIMs for which they stand.
INSERT INTO database_grants (kind, privileges, names) VALUES ('ingest', 'SELECT', ARRAY['usage_accounts']);
