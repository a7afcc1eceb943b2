-- store::archive: makes a month a part of usage_records again; under the exclusive inventory lock
SELECT return_usage_month(/* archive */ $1::text::uuid, /* now */ $2, /* version */ $3, /* SIMs */ $4) AS stamped
