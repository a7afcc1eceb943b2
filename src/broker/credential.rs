//! What is stored of those who log in, and who they are then.

use std::sync::Arc;

use crate::domain::{Iccid, TenantId, TopicRule};

use super::acl::{Grant, Login, Principal};
use super::auth::LoginError;

/// What is stored about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// argon2id in PHC format, as [`hash_password`] makes it.
    pub password_hash: String,
    pub tenant: TenantId,
    pub tenant_name: String,
    /// Permission `usage:correct`.
    pub may_correct: bool,
    pub enabled: bool,
    /// Of a device, which sends usage of this SIM only.
    pub iccid: Option<Iccid>,
    /// `None`: what is configured.
    pub publish: Option<Vec<TopicRule>>,
    pub subscribe: Option<Vec<TopicRule>>,
    /// Changes with everything above.
    pub revision: i64,
}

/// What is stored about an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCredential {
    pub id: i32,
    pub name: String,
    pub tenant: TenantId,
    pub tenant_name: String,
    pub enabled: bool,
    /// `usage:write`
    pub may_send_usage: bool,
    /// `usage:correct`
    pub may_correct: bool,
    /// `mqtt:publish`
    pub may_publish: bool,
    /// `mqtt:subscribe`
    pub may_subscribe: bool,
    pub revision: i64,
}

/// In whose name a connection speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub tenant: TenantId,
    pub tenant_name: String,
    pub may_correct: bool,
    pub login: Login,
    pub grant: Grant,
}

impl Credential {
    /// Who has proved to be this user.
    pub(super) fn enabled(self, username: &str) -> Result<Identity, LoginError> {
        if !self.enabled {
            return Err(LoginError::BadLogin);
        }
        Ok(self.identity(username))
    }

    fn identity(self, username: &str) -> Identity {
        let username: Arc<str> = username.into();
        Identity {
            tenant: self.tenant,
            tenant_name: self.tenant_name,
            may_correct: self.may_correct,
            login: Login { principal: Principal::User(username.clone()), revision: self.revision },
            grant: Grant::User {
                username,
                iccid: self.iccid,
                publish: self.publish,
                subscribe: self.subscribe,
            },
        }
    }
}

impl KeyCredential {
    pub(super) fn identity(self) -> Result<Identity, LoginError> {
        if !self.enabled {
            return Err(LoginError::BadLogin);
        }
        if !(self.may_send_usage || self.may_publish || self.may_subscribe) {
            return Err(LoginError::NoPermission);
        }
        Ok(Identity {
            tenant: self.tenant,
            tenant_name: self.tenant_name,
            may_correct: self.may_correct,
            login: Login { principal: Principal::Key(self.id), revision: self.revision },
            grant: Grant::Key {
                name: self.name,
                usage: self.may_send_usage,
                publish: self.may_publish,
                subscribe: self.may_subscribe,
            },
        })
    }
}
