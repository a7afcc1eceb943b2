//! The figures above the charts.

use axum::extract::State;
use axum::response::Response;
use chrono::NaiveDate;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::consumption::{Figures, KpiDays, Scope};

use super::super::ApiState;
use super::super::caller::{Allowed, ReadConsumption};
use super::super::error::ApiError;
use super::super::query::Query;
use super::answers::AcceptsGzip;
use super::number::Whole;
use super::question::{self, Granularity};
use super::trends::body;

#[derive(Debug, Serialize, ToSchema)]
struct Kpis {
    #[schema(example = true)]
    success: bool,
    data: KpiData,
    period: KpiPeriod,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct KpiData {
    total_spend: Money,
    data_usage: Data,
    active_sims: Sims,
    /// Bytes for each SIM with usage.
    avg_data_per_sim: Data,
    /// Cost up to today, projected to the last day of the range by whole days; of the current month to its end where no dates
    /// are given. Of a range that is over, its cost.
    estimated_cost: Money,
}

/// Trends are percentages against the days before, as many; 0 where there is nothing to compare with.
#[derive(Debug, Serialize, ToSchema)]
struct Money {
    #[schema(example = 12.5)]
    value: f64,
    #[schema(example = -3.1)]
    trend: f64,
    #[schema(example = "CHF")]
    currency: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Data {
    #[schema(value_type = i64, example = 6_710_886_400_i64)]
    value: Whole,
    #[serde(rename = "valueExact", skip_serializing_if = "Option::is_none")]
    value_exact: Option<String>,
    /// GB of 2^30 bytes.
    #[serde(rename = "valueGB")]
    #[schema(example = 6.25)]
    value_gb: f64,
    #[schema(example = 4.0)]
    trend: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Sims {
    #[schema(example = 7)]
    value: i64,
    #[schema(example = 0.0)]
    trend: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct KpiPeriod {
    #[schema(example = "2026-11-01")]
    start: NaiveDate,
    #[schema(example = "2026-11-21")]
    end: NaiveDate,
}

/// Figures of a range
///
/// The current month up to today unless dates are given.
#[utoipa::path(
    get, path = "/api/consumption/kpis", tag = "Consumption", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(
        ("start_date" = Option<String>, Query, description = "First day, YYYY-MM-DD in the tenant's zone; at most 1830 days"),
        ("end_date" = Option<String>, Query, description = "Last day, inclusive"),
        ("imsi" = Option<Vec<String>>, Query, description = "ICCIDs, repeated"),
        ("mccmnc" = Option<Vec<String>>, Query, description = "Serving networks, repeated"),
    ),
    responses((status = 200, body = Kpis))
)]
pub(super) async fn show(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    gzip: AcceptsGzip,
    mut query: Query,
) -> Result<Response, ApiError> {
    let tenant = caller.0.tenant;
    let standing = state.store.consumption_standing(tenant, state.clock.now()).await?;
    let (scope, asked) = question::scope(&mut query, &standing);
    query.finish()?;
    let ends = if asked.is_empty() { Granularity::Monthly.end_of(scope.last) } else { scope.last };
    let days = KpiDays { ends, today: standing.today };
    let made = state.answers.get((tenant, &standing), "kpis", (&scope, ends), || async {
        let figures = state
            .charts
            .read(tenant, &standing, async |store| store.kpis(tenant, &scope, days).await)
            .await?;
        body(&shown(figures, &standing.currency, &scope))
    });
    Ok(made.await?.0.respond(gzip))
}

fn shown(figures: Figures, currency: &str, scope: &Scope) -> Kpis {
    let money = |value, trend| Money { value, trend, currency: currency.to_owned() };
    let data = |bytes: String, value_gb, trend| {
        let value = Whole(bytes);
        Data { value_exact: value.exact(), value, value_gb, trend }
    };
    Kpis {
        success: true,
        data: KpiData {
            total_spend: money(figures.volume.cost, figures.cost_trend),
            data_usage: data(figures.volume.bytes, figures.volume.gigabytes, figures.bytes_trend),
            active_sims: Sims { value: figures.volume.sims, trend: figures.sims_trend },
            avg_data_per_sim: data(figures.average, figures.average_gigabytes, figures.average_trend),
            estimated_cost: money(figures.estimate, figures.estimate_trend),
        },
        period: KpiPeriod { start: scope.first, end: scope.last },
    }
}
