-- store::ping: is anybody there
SELECT 1
