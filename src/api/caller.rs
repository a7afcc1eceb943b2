//! Who asks, and whether they may.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::domain::{Permission, PermissionPattern, TenantId};
use crate::store::api_keys::ApiKey;

use super::ApiState;
use super::error::ApiError;
use super::rate_limit::{LimitClass, Standing};

/// What a route asks of its caller.
pub(crate) trait Need: Send + Sync + 'static {
    const PERMISSION: Permission;
    const LIMIT: LimitClass;
    /// In demo mode it needs no key.
    const OPEN_IN_DEMO: bool = false;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident: $permission:ident, $limit:ident $(, $open:literal)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $name {}
        impl Need for $name {
            const PERMISSION: Permission = Permission::$permission;
            const LIMIT: LimitClass = LimitClass::$limit;
            $(const OPEN_IN_DEMO: bool = $open;)?
        }
    )*};
}

needs! {
    /// One record, or a reset of a cycle.
    WriteUsage: UsageWrite, UsageSingle;
    WriteUsageBatch: UsageWrite, UsageBatch;
    ReadUsage: UsageRead, Reading, true;
    ReadSims: SimsRead, ProvisioningRead, true;
    WriteSims: SimsWrite, ProvisioningWrite;
    ReadConsumption: ConsumptionRead, Reading, true;
    ChangeSettings: AdminSettings, ProvisioningWrite, true;
    ChangeAlerts: AdminAlerts, ProvisioningWrite;
}

/// Somebody with a key, or anybody in demo mode. Everything that is done for them is done in their tenant's name.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    pub(crate) who: Who,
    pub(crate) address: IpAddr,
}

/// Whose permissions count.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Key(Arc<ApiKey>),
    /// In demo mode: what it is called and what it may do.
    Demo(&'static str, &'static [PermissionPattern]),
}

impl Caller {
    pub(crate) fn may(&self, permission: Permission) -> bool {
        let granted = match &self.who {
            Who::Key(key) => key.permissions.as_slice(),
            Who::Demo(_, granted) => granted,
        };
        granted.iter().any(|pattern| pattern.grants(permission))
    }

    /// For parked records and the audit.
    pub(crate) fn name(&self) -> &str {
        match &self.who {
            Who::Key(key) => &key.name,
            Who::Demo(name, _) => name,
        }
    }
}

/// Extractor: the caller, who has what `N` asks for and is within the rate limit. A route without it has no caller and
/// no tenant, so it cannot reach anybody's rows.
#[derive(Debug)]
pub(crate) struct Allowed<N: Need>(pub(crate) Caller, pub(crate) PhantomData<N>);

impl<N: Need> FromRequestParts<ApiState> for Allowed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let address = address(parts);
        let caller = match presented(parts)? {
            Some(key) => state.keys.verify(&key, address).await?,
            None if N::OPEN_IN_DEMO && state.demo => state.keys.nobody(address),
            None => return Err(ApiError::Unauthorized),
        };
        let standing = parts.extensions.get::<Standing>().cloned().unwrap_or_default();
        state.keys.admit(&caller, N::PERMISSION, N::LIMIT, &standing)?;
        Ok(Self(caller, PhantomData))
    }
}

/// Where a request comes from; without a connection, as in a test of the router alone, from nowhere.
fn address(parts: &Parts) -> IpAddr {
    let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    connection.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(address)| address.ip().to_canonical())
}

/// The key in `Authorization: Bearer`, else in `X-API-Key`.
fn presented(parts: &Parts) -> Result<Option<String>, ApiError> {
    let text = |name: &str| {
        let value = parts.headers.get(name)?;
        Some(value.to_str().map(str::trim).map_err(|_| ApiError::Unauthorized))
    };
    if let Some(value) = text(AUTHORIZATION.as_str()) {
        let value = value?;
        let bearer = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some((_, key)) = bearer {
            return Ok(Some(key.trim().to_owned()));
        }
        if text("x-api-key").is_none() {
            return Err(ApiError::Unauthorized);
        }
    }
    Ok(text("x-api-key").transpose()?.map(str::to_owned))
}
