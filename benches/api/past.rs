//! Half a year of usage in a database.

use std::time::Duration;

use simbridge::store::rollups::Lock;
use tokio_postgres::Client;

use crate::database::BenchDatabase;

const LIMIT: Duration = Duration::from_secs(600);
pub(crate) const DAYS: u16 = 180;

/// Records in one write.
const WRITE: usize = 5_000;

/// Records as they would have come, about as many of every SIM, month by month, in writes of 5,000 with their markers. Called again
/// with another first write it adds as many of the same SIMs and hours.
pub(crate) async fn fill(postgres: &Client, records: usize, first_write: i64) {
    let sql = "WITH sims AS MATERIALIZED (
                   SELECT row_number() OVER (ORDER BY s.iccid) - 1 AS n, s.iccid, s.sim_id, s.carrier_id,
                          s.rate_plan_id
                   FROM provisioned_sims s)
               INSERT INTO usage_records (write_id, period_start, period_end, data_upload_bytes, data_download_bytes,
                   total_bytes, key_tenant_id, tenant_id, carrier_id, rate_plan_id, iccid, record_id, sim_id, cycle_id, mccmnc)
               SELECT $5::bigint + turn / $6::bigint, at, at + interval '5 minutes', 1000 + turn % 777, 3000 + turn % 999,
                   4000 + turn % 777 + turn % 999, 1, 1, carrier_id, rate_plan_id, iccid, 'r' || $5 || '-' || turn, sim_id,
                   to_char(at AT TIME ZONE 'UTC', 'YYYY-MM'), CASE WHEN n % 3 = 0 THEN '22801' ELSE '22802' END
               FROM generate_series($1::bigint, $2::bigint - 1) AS turn
               CROSS JOIN LATERAL (SELECT date_trunc('day', now(), 'UTC') - $4::integer * interval '1 day'
                                          + turn * ($4::integer * interval '1 day' / $3::bigint) AS at) AS t
               JOIN sims ON n = turn * 7919 % (SELECT count(*) FROM provisioned_sims)";
    let (records, step, write) = (records as i64, 1_000_000, WRITE as i64);
    for from in (0..records).step_by(step as usize) {
        let to = (from + step).min(records);
        let days = i32::from(DAYS);
        postgres.execute(sql, &[&from, &to, &records, &days, &first_write, &write]).await.expect("records");
    }
    let mark = "INSERT INTO rollup_markers (write_id, period_from, period_to, record_count)
                SELECT write_id, min(period_start), max(period_start), count(*) FROM usage_records
                WHERE write_id >= $1 GROUP BY write_id ORDER BY write_id";
    postgres.execute(mark, &[&first_write]).await.expect("markers");
}

/// The first write after those of `fill`.
pub(crate) fn next_write(records: usize) -> i64 {
    records.div_ceil(WRITE) as i64
}

pub(crate) async fn roll_up(database: &BenchDatabase) {
    loop {
        let done = database.store.roll_up(100_000, LIMIT, Lock::Wait).await.expect("a chunk");
        if done.expect("nobody else has the lock").markers == 0 {
            return;
        }
    }
}
