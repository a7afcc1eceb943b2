//! Every rollup table as text, in the form in which the model states it. Moments are microseconds since 1970.
//! That the sets hold nobody else than the numbered SIMs is for the invariants to say: they count their members.

/// Table and query.
pub(super) const ALL: [(&str, &str); 8] = [
    (
        "sim_daily_usage",
        "SELECT tenant_id, iccid, usage_date, carrier_id, rate_plan_id, mccmnc, cycle_id, data_upload_bytes,
                data_download_bytes, total_bytes, sms_count, voice_seconds, record_count, correction_count,
                (extract(epoch FROM latest_event_at) * 1000000)::bigint, cost
         FROM sim_daily_usage",
    ),
    (
        "hourly_usage",
        "SELECT tenant_id, (extract(epoch FROM hour) * 1000000)::bigint, carrier_id, mccmnc, data_upload_bytes,
                data_download_bytes, total_bytes, sms_count, voice_seconds, record_count, active_sim_count
         FROM hourly_usage",
    ),
    (
        "daily_network_usage",
        "SELECT tenant_id, usage_date, carrier_id, mccmnc, data_upload_bytes, data_download_bytes, total_bytes, sms_count,
                voice_seconds, record_count, cost, active_sim_count
         FROM daily_network_usage",
    ),
    (
        "daily_usage",
        "SELECT tenant_id, usage_date, carrier_id, data_upload_bytes, data_download_bytes, data_bytes, sms_count,
                voice_seconds, record_count, cost, active_sim_count
         FROM daily_usage",
    ),
    (
        "usage_aggregations",
        "SELECT tenant_id, period_start, period_end, carrier_id, total_upload_bytes, total_download_bytes, total_data_bytes,
                sms_count, voice_seconds, record_count, total_cost, active_sim_count
         FROM usage_aggregations",
    ),
    (
        "hourly_active_sims",
        "SELECT s.tenant_id, (extract(epoch FROM s.hour) * 1000000)::bigint, s.carrier_id, s.mccmnc, n.iccid
         FROM hourly_active_sims s JOIN sim_numbers n ON n.tenant_id = s.tenant_id AND n.number / 2048 = s.chunk
         WHERE get_bit(s.sims, n.number % 2048) = 1",
    ),
    (
        "daily_active_sims",
        "SELECT s.tenant_id, s.usage_date, s.carrier_id, s.mccmnc, n.iccid
         FROM daily_active_sims s JOIN sim_numbers n ON n.tenant_id = s.tenant_id AND n.number / 2048 = s.chunk
         WHERE get_bit(s.sims, n.number % 2048) = 1",
    ),
    (
        "monthly_active_sims",
        "SELECT s.tenant_id, s.month, s.carrier_id, s.mccmnc, n.iccid
         FROM monthly_active_sims s JOIN sim_numbers n ON n.tenant_id = s.tenant_id AND n.number / 2048 = s.chunk
         WHERE get_bit(s.sims, n.number % 2048) = 1",
    ),
];
