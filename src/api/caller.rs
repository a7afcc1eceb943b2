//! Who asks, and whether they may.

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::domain::{Permission, PermissionPattern, TenantId};
use crate::store::api_keys::{ApiKey, KeyHash};
use crate::store::dashboard_sessions::TokenHash;

use super::ApiState;
use super::error::ApiError;
use super::key_ring::hash_key;
use super::origin::{Sender, is_delicate, sender};
use super::rate_limit::{LimitClass, Standing};
use super::session_ring;

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
    MendParked: AdminQuarantine, UsageSingle, true;
}

/// Somebody with a key, or anybody in demo mode. Everything that is done for them is done in their tenant's name.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    pub(crate) who: Who,
    pub(crate) address: IpAddr,
    pub(super) proof: Proof,
}

/// What was shown, to look at it again in what goes on for long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// In demo mode.
    None,
    Key(KeyHash),
    Session(TokenHash),
}

/// Whose permissions count.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Key(Arc<ApiKey>),
    /// In demo mode: what it is called and what it may do.
    Demo(&'static str, &'static [PermissionPattern]),
}

impl Who {
    pub(crate) fn may(&self, permission: Permission) -> bool {
        let granted = match self {
            Self::Key(key) => key.permissions.as_slice(),
            Self::Demo(_, granted) => granted,
        };
        granted.iter().any(|pattern| pattern.grants(permission))
    }
}

impl Caller {
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.who.may(permission)
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
        let open = N::OPEN_IN_DEMO && state.demo;
        let caller = match (presented(parts)?, session_ring::token(&parts.headers)) {
            (Some(key), _) => state.keys.verify(&key, address).await?,
            (None, Some(token)) => match signed_in(parts, state, token, address).await {
                // A cookie that is left over does not close what is open.
                Err(ApiError::Unauthorized) if open => state.keys.nobody(address),
                other => other?,
            },
            (None, None) if open => state.keys.nobody(address),
            (None, None) => return Err(ApiError::Unauthorized),
        };
        let standing = parts.extensions.get::<Standing>().cloned().unwrap_or_default();
        state.keys.admit(&caller, N::PERMISSION, N::LIMIT, &standing)?;
        Ok(Self(caller, PhantomData))
    }
}

/// Who stands behind a cookie. What it changes must be asked by a page of ours: browsers send cookies for others too.
async fn signed_in(
    parts: &Parts,
    state: &ApiState,
    token: &str,
    address: IpAddr,
) -> Result<Caller, ApiError> {
    let session = state.sessions.verify(token, address).await?;
    if is_delicate(&parts.method, &parts.headers) && sender(&parts.headers) != Sender::Own {
        return Err(ApiError::OtherOrigin);
    }
    let (tenant, proof) = (session.key.tenant, Proof::Session(hash_key(token)));
    Ok(Caller { tenant, who: Who::Key(session.key), address, proof })
}

impl ApiState {
    /// Whether a caller may still do what it was let in for: the key was not revoked and the session did not end. While the
    /// database is away, nothing of that changes.
    pub(super) async fn may_still(&self, caller: &Caller, permission: Permission) -> bool {
        let key = match &caller.proof {
            Proof::None => return true,
            Proof::Key(hash) => self.keys.find(hash).await,
            Proof::Session(hash) => {
                self.sessions.find(hash).await.map(|found| found.map(|session| session.key))
            }
        };
        key.map_or(true, |key| key.is_some_and(|key| key.enabled && key.may(permission)))
    }
}

/// Extractor: where a request comes from.
#[derive(Debug)]
pub(super) struct Address(pub(super) IpAddr);

impl FromRequestParts<ApiState> for Address {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Self::Rejection> {
        Ok(Self(address(parts)))
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
