-- store::reconcile: first days of the months of which there are rollups, the newest first
SELECT DISTINCT period_start AS month FROM usage_aggregations ORDER BY month DESC LIMIT 1200
