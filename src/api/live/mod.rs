//! Live figures of a tenant (contract §5): asked for, or pushed every few seconds to everybody who watches.

mod feeds;
mod figures;
mod push;
mod socket;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ApiState;

pub(crate) use feeds::{Feeds, FeedsOptions};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(figures::show))
        .routes(routes!(push::stream))
        .routes(routes!(socket::connect))
}
