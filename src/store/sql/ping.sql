-- store: is anybody there
SELECT 1
