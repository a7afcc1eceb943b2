-- store::sim_table: the statuses and carriers that SIMs of a tenant have, the most frequent first
WITH counted AS (
    SELECT s.status, s.carrier_id, grouping(s.carrier_id) = 1 AS by_status, count(*) AS sims
    FROM provisioned_sims s WHERE s.tenant_id = /* tenant */ $1
    GROUP BY GROUPING SETS (s.status, s.carrier_id)
), named AS (
    SELECT n.by_status, CASE WHEN n.by_status THEN n.status ELSE c.name END AS name, n.sims
    FROM counted n LEFT JOIN carriers c ON c.id = n.carrier_id AND NOT n.by_status
), ranked AS (
    SELECT n.*, row_number() OVER (PARTITION BY n.by_status ORDER BY n.sims DESC, n.name) AS place
    FROM named n WHERE n.name IS NOT NULL
)
SELECT r.by_status, r.name, r.sims FROM ranked r WHERE r.place <= /* at most of each */ $2 ORDER BY r.by_status, r.place
