//! What the portal's consumption page asks (contract §5). Every answer is made of rollups by one statement, and all of them
//! are sums over the same rows, so that they agree to the byte for one range and filter.

mod answers;
mod carriers;
mod details;
mod invoices;
mod kpis;
mod number;
mod places;
mod question;
mod split;
mod trends;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(super) use answers::Answers;

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(kpis::show))
        .routes(routes!(trends::show))
        .routes(routes!(trends::export))
        .routes(routes!(carriers::show))
        .routes(routes!(carriers::export))
        .routes(routes!(places::show_sims))
        .routes(routes!(places::show_regions))
        .routes(routes!(details::show))
        .routes(routes!(details::export))
        .routes(routes!(details::list_sims))
        .routes(routes!(invoices::show))
}
