-- store::backup: a dump holds no statistics, and plans without them are ruinous
ANALYZE
