-- Sessions whose beginning and end are told (RADIUS): their ids may be given again.
ALTER TABLE usage_sessions ADD COLUMN began_at timestamptz, ADD COLUMN ended_at timestamptz;
COMMENT ON COLUMN usage_sessions.began_at IS 'When the session of this id that is read now began; NULL where nobody told';
COMMENT ON COLUMN usage_sessions.ended_at IS 'When it ended, as its source told; NULL while it is read, and where nobody tells';
