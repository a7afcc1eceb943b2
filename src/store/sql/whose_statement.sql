-- store::pooler: a number that one process alone chose, in the text itself: it tells whose prepared statement was run
SELECT int8 '0' AS number
