//! What can be configured, section by section. Later sources override earlier ones: default, file, environment, flag.

mod acl;
pub mod admission;
mod alerts;
mod hide;
mod http;
mod load;
mod mapping;
pub mod mqtt;
mod sections;
mod show;
mod source;
mod source_files;
mod source_openvpn;
mod source_panel;
mod source_radius;
mod traces;
pub mod transport;

pub use acl::AclConfig;
pub use alerts::AlertsConfig;
pub use http::{HttpConfig, RateLimitConfig};
pub use load::{ConfigError, Flags, Loaded, load};
pub use mapping::MappingConfig;
pub use sections::{Config, DatabaseConfig, IngestConfig, LogConfig, PostgresConfig, ShutdownConfig};
pub use source::{MqttSourceConfig, SourceConfig};
pub use source_files::FilesSourceConfig;
pub use source_openvpn::OpenVpnSourceConfig;
pub use source_panel::PanelSourceConfig;
pub(crate) use source_panel::header_name;
pub use source_radius::{RadiusClientConfig, RadiusSourceConfig};
pub use traces::TracesConfig;
