-- store::consumption: UTC hours that hold some days of a tenant: the first one, and how many
SELECT b.earliest, ceil(extract(epoch FROM b.latest - b.earliest) / 3600)::integer AS hours
FROM (SELECT date_trunc('hour', day_begins(/* first */ $2, t.time_zone), 'UTC') AS earliest,
             day_begins(/* last */ $3::date + 1, t.time_zone) AS latest
      FROM tenants t WHERE t.id = /* tenant */ $1) AS b
