-- store::cycle_resets: what a cycle was archived with
SELECT c.final_usage ->> 'dataUploadBytes' AS upload, c.final_usage ->> 'dataDownloadBytes' AS download,
       c.final_usage ->> 'totalBytes' AS total, c.final_usage ->> 'smsCount' AS sms, c.final_usage ->> 'voiceSeconds' AS voice
FROM usage_cycles c JOIN provisioned_sims p ON p.sim_id = c.sim_id
WHERE p.iccid = /* iccid */ $1 AND p.tenant_id = /* tenant */ $2 AND c.iccid = $1 AND c.cycle_id = /* cycle id */ $3
