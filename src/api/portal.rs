//! What the portal asks beside consumption: its currency, and names of networks.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::store::tenants::TenantChange;

use super::ApiState;
use super::body::JsonBody;
use super::caller::{Allowed, ChangeSettings, ReadConsumption};
use super::error::{ApiError, CONFLICT};
use super::mobile_countries::{NetworkOf, network_of};
use super::query::Query;

const CODES_AT_MOST: usize = 500;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(show_currency, set_currency)).routes(routes!(look_up))
}

#[derive(Debug, Serialize, ToSchema)]
struct CurrencySetting {
    #[schema(example = true)]
    success: bool,
    /// ISO 4217 code in which every amount is computed.
    #[schema(example = "CHF")]
    currency: String,
}

#[derive(Debug, Deserialize, ToSchema)]
struct NewCurrency {
    /// ISO 4217 code: three capital letters.
    #[schema(example = "CHF", pattern = "^[A-Z]{3}$")]
    currency: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Networks {
    #[schema(example = true)]
    success: bool,
    /// In the order of the codes; codes whose country code is not assigned are left out.
    data: Vec<Network>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Network {
    #[schema(example = "22803")]
    mccmnc: String,
    /// `Unknown` where no carrier here has this home network.
    #[schema(example = "Salt")]
    carrier_name: String,
    /// ISO 3166-1; empty for international networks.
    #[schema(example = "CH")]
    country_code: String,
    /// `national`, or `international` for networks of no country (901).
    #[schema(example = "national")]
    network_type: &'static str,
}

/// The currency of all amounts
#[utoipa::path(
    get, path = "/api/settings/currency", tag = "Settings", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    responses((status = 200, body = CurrencySetting))
)]
async fn show_currency(
    caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
) -> Result<Json<CurrencySetting>, ApiError> {
    let standing = state.store.consumption_standing(caller.0.tenant, state.clock.now()).await?;
    Ok(Json(CurrencySetting { success: true, currency: standing.currency }))
}

/// Change the currency of all amounts
///
/// Amounts are never only relabelled: while the tenant has rate plans in its currency, it stays.
#[utoipa::path(
    post, path = "/api/settings/currency", tag = "Settings", security(("bearer" = ["admin:settings"]), ("apiKey" = ["admin:settings"])),
    request_body = NewCurrency,
    responses(
        (status = 200, body = CurrencySetting),
        (status = 409, description = "There are rate plans in another currency"),
    )
)]
async fn set_currency(
    caller: Allowed<ChangeSettings>,
    State(state): State<ApiState>,
    JsonBody(new): JsonBody<NewCurrency>,
) -> Result<Json<CurrencySetting>, ApiError> {
    let currency = new.currency;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(ApiError::invalid("currency", "must be three capital letters such as CHF (ISO 4217)"));
    }
    let standing = state.store.consumption_standing(caller.0.tenant, state.clock.now()).await?;
    match state.store.set_tenant(&standing.tenant, None, Some(&currency)).await? {
        TenantChange::Done { .. } => Ok(Json(CurrencySetting { success: true, currency })),
        TenantChange::PlansInOtherCurrency { currency: plans_in } => {
            let message = format!(
                "there are rate plans in {plans_in}, and what was billed by them stands: the currency cannot be changed to {currency}"
            );
            Err(ApiError::Conflict { code: CONFLICT, message })
        }
        TenantChange::ZoneBusy(message) => Err(ApiError::Conflict { code: CONFLICT, message }),
        TenantChange::UnknownTenant => Err(ApiError::NotFound("tenant")),
    }
}

/// Names and countries of networks
#[utoipa::path(
    get, path = "/api/mccmnc/lookup", tag = "Settings", security(("bearer" = ["consumption:read"]), ("apiKey" = ["consumption:read"])),
    params(("codes" = Vec<String>, Query, description = "Mobile country and network codes (ITU-T E.212), repeated or separated by commas; at most 500")),
    responses((status = 200, body = Networks))
)]
async fn look_up(
    _caller: Allowed<ReadConsumption>,
    State(state): State<ApiState>,
    mut query: Query,
) -> Result<Json<Networks>, ApiError> {
    let given = query.all("codes");
    let mut codes: Vec<String> =
        given.iter().flat_map(|codes| codes.split(',')).map(|code| code.trim().to_owned()).collect();
    codes.retain(|code| !code.is_empty());
    codes.sort_unstable();
    codes.dedup();
    if codes.is_empty() {
        query.fault("codes", "is required");
    } else if codes.len() > CODES_AT_MOST {
        query.fault("codes", format!("more than {CODES_AT_MOST} codes"));
    }
    let fits = |code: &&String| !((5..=6).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit()));
    if let Some(wrong) = codes.iter().find(fits) {
        let wrong: String = wrong.chars().take(40).collect();
        query.fault("codes", format!("`{wrong}` is not 5 to 6 digits"));
    }
    query.finish()?;
    let carriers = state.store.network_carriers(&codes).await?;
    let network = |mccmnc: String| {
        let of = network_of(&mccmnc);
        let carrier = carriers.iter().find(|(network, _)| *network == mccmnc).map(|(_, name)| name.clone());
        let (country_code, network_type) = match of {
            Some(NetworkOf::Country(code)) => (code.to_owned(), "national"),
            Some(NetworkOf::NoCountry) => (String::new(), "international"),
            None => return None,
        };
        let carrier_name = carrier.unwrap_or_else(|| "Unknown".into());
        Some(Network { mccmnc, carrier_name, country_code, network_type })
    };
    Ok(Json(Networks { success: true, data: codes.into_iter().filter_map(network).collect() }))
}
