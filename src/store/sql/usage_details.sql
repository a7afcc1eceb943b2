-- store::consumption: usage by period, serving network and SIM, in this order, after a row and a number of rows
SELECT d.period, d.network, d.sim, d.total_bytes::text AS bytes, d.latest_event_at
FROM usage_details(/* tenant */ $1, /* firsts */ $2, /* lasts */ $3, /* iccids */ $4, /* networks */ $5,
                   /* after network */ $6, /* after iccid */ $7, /* limit */ $8 + /* offset */ $9) WITH ORDINALITY AS d
ORDER BY d.ordinality OFFSET $9
