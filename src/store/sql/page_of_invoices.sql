-- store::invoices: a page of a tenant's invoices, newest month first, with the number of all that match; NULL matches all
WITH matching AS (
    SELECT i.* FROM invoices i
    WHERE i.tenant_id = /* tenant */ $1 AND (/* status */ $2::text IS NULL OR i.status = $2)
      AND (/* first */ $3::date IS NULL OR i.period_end >= $3) AND (/* last */ $4::date IS NULL OR i.period_start <= $4)
)
SELECT i.id, i.invoice_number, i.carrier_id, coalesce(c.name, 'Unknown') AS carrier, i.period_start, i.period_end,
       i.total_amount::float8 AS total_amount, i.currency, i.status, i.due_date, i.paid_date, n.total
FROM (SELECT count(*) AS total FROM matching) AS n
LEFT JOIN LATERAL (SELECT * FROM matching m ORDER BY m.period_start DESC, m.carrier_id
                   LIMIT /* limit */ $5 OFFSET /* offset */ $6) AS i ON true
LEFT JOIN carriers c ON c.id = i.carrier_id
ORDER BY i.period_start DESC, i.carrier_id
