-- store::invoices: sets the status of an invoice; returns nothing for an unknown number
WITH asked AS (
    -- A number is unique within its tenant.
    SELECT i.id, i.status, count(*) OVER () AS found, (/* now */ $5::timestamptz AT TIME ZONE t.time_zone)::date AS today
    FROM invoices i JOIN tenants t ON t.id = i.tenant_id
    WHERE i.invoice_number = /* number */ $1 AND (/* tenant */ $2::integer IS NULL OR i.tenant_id = $2)
), changed AS (
    UPDATE invoices i
    SET status = /* status */ $3,
        -- Only what is paid has a day of payment: the one that was given, the one that is noted already, or today.
        paid_date = CASE WHEN $3 = 'paid' THEN coalesce(/* on */ $4::date, i.paid_date, asked.today) END
    FROM asked WHERE i.id = asked.id AND asked.found = 1
    RETURNING i.id, i.paid_date
)
SELECT asked.status AS former, asked.found, changed.paid_date FROM asked LEFT JOIN changed ON changed.id = asked.id
LIMIT 1
