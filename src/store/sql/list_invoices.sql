-- store::invoices: invoices, newest month first; NULL matches all
SELECT t.name AS tenant, i.invoice_number, i.carrier_id, c.name AS carrier, i.period_start, i.period_end,
       i.total_amount::text AS total_amount, i.currency, i.status, i.due_date, i.paid_date
FROM invoices i
JOIN tenants t ON t.id = i.tenant_id
LEFT JOIN carriers c ON c.id = i.carrier_id
WHERE (/* tenant */ $1::integer IS NULL OR i.tenant_id = $1) AND (/* status */ $2::text IS NULL OR i.status = $2)
  AND (/* month */ $3::date IS NULL OR i.period_start = $3)
ORDER BY i.period_start DESC, t.name, i.carrier_id
