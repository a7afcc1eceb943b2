-- store::accounts: the SIMs for which accounts of a source stand; an account that stands for none is left out
WITH asked AS (
    SELECT DISTINCT account FROM unnest(/* accounts */ $3::text[]) AS a (account)
), named AS (
    -- What was said by hand goes first, and what was said of this source before what was said of all.
    SELECT DISTINCT ON (m.account) m.account, m.iccid
    FROM usage_accounts m
    WHERE m.tenant_id = /* tenant */ $1 AND m.source IN (/* source */ $2, '') AND m.account = ANY ($3)
    ORDER BY m.account, m.source DESC
), provisioned AS (
    -- A number that two SIMs have tells neither. One index for each kind of number: all in one condition would read every SIM.
    SELECT a.account, min(s.iccid) AS iccid
    FROM asked a
    CROSS JOIN LATERAL (
        SELECT iccid FROM provisioned_sims WHERE tenant_id = $1 AND iccid = a.account
        UNION
        SELECT iccid FROM provisioned_sims WHERE tenant_id = $1 AND imsi = a.account
        UNION
        SELECT iccid FROM provisioned_sims WHERE tenant_id = $1 AND ltrim(msisdn, '+') = ltrim(a.account, '+')
    ) s
    GROUP BY a.account
    HAVING count(*) = 1
)
SELECT a.account, coalesce(n.iccid, p.iccid, CASE WHEN a.account ~ '^89[0-9]{16,18}$' THEN a.account END) AS iccid
FROM asked a
LEFT JOIN named n USING (account)
LEFT JOIN provisioned p USING (account)
-- A number of 18 to 20 digits that begins with 89 is an ICCID (ITU-T E.118), maybe of a SIM that nobody provisioned yet.
WHERE coalesce(n.iccid, p.iccid) IS NOT NULL OR a.account ~ '^89[0-9]{16,18}$'
