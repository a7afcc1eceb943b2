//! How clients reach the embedded broker beside plain TCP: `[mqtt.tls]` and `[mqtt.websocket]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::mqtt::MqttConfigError;

/// MQTT over TLS 1.2 and 1.3, and the certificate of everything that is encrypted: `[mqtt.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Default empty: off. By convention port 8883.
    pub listen: String,
    /// PEM: the server's certificate, and those between it and its authority.
    pub certificate_file: PathBuf,
    /// PEM: the private key of that certificate.
    pub key_file: PathBuf,
    /// Default `off`: clients are not asked for a certificate.
    pub client_certificate: ClientCertificate,
    /// PEM: the authorities that sign the certificates of clients.
    pub client_ca_file: PathBuf,
    /// Default empty: none. PEM: the revocation lists of these authorities, one of each.
    pub crl_file: PathBuf,
    /// Default 0 = half of the processors, at least one. Handshakes that are computed at the same time; they take a thousand times
    /// as long as a message.
    pub handshakes_at_once: usize,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    #[default]
    Off,
    /// Asked for; a client without one logs in with a password.
    Optional,
    /// Without one there is no connection.
    Required,
}

/// MQTT in WebSocket frames: `[mqtt.websocket]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketConfig {
    /// Default empty: off. By convention port 8083.
    pub listen: String,
    /// Default empty: off. The same over TLS (wss), with the certificate of `[mqtt.tls]`.
    pub tls_listen: String,
    /// Default empty: pages of the broker's own host only. Origins whose pages may connect, or `*` for all. Clients
    /// that are no browser send none and always may.
    pub origins: Vec<String>,
    /// Default 8192 bytes for the head of the HTTP request, as other servers have it.
    pub max_handshake_bytes: usize,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            listen: String::new(),
            tls_listen: String::new(),
            origins: Vec::new(),
            max_handshake_bytes: 8192,
        }
    }
}

/// What one setting needs of another.
pub(super) fn validate(tls: &TlsConfig, websocket: &WebSocketConfig) -> Result<(), MqttConfigError> {
    let missing = |key, needed_by| Err(MqttConfigError::Missing { key, needed_by });
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let encrypted = [("mqtt.tls.listen", &tls.listen), ("mqtt.websocket.tls_listen", &websocket.tls_listen)];
    if let Some((needed_by, _)) = encrypted.into_iter().find(|(_, listen)| !listen.is_empty()) {
        if !is_set(&tls.certificate_file) {
            return missing("mqtt.tls.certificate_file", needed_by);
        }
        if !is_set(&tls.key_file) {
            return missing("mqtt.tls.key_file", needed_by);
        }
    }
    if tls.client_certificate == ClientCertificate::Off && is_set(&tls.crl_file) {
        return Err(MqttConfigError::CrlUnused);
    }
    match (tls.client_certificate, is_set(&tls.client_ca_file)) {
        // Somebody who names an authority means it to be used.
        (ClientCertificate::Off, true) => Err(MqttConfigError::ClientCaUnused),
        (ClientCertificate::Optional | ClientCertificate::Required, false) => {
            missing("mqtt.tls.client_ca_file", "mqtt.tls.client_certificate")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(tls: &str, websocket: &str) -> String {
        let (tls, websocket) = (toml::from_str(tls).unwrap(), toml::from_str(websocket).unwrap());
        validate(&tls, &websocket).map_or_else(|fault| fault.to_string(), |()| "none".into())
    }

    #[test]
    fn an_encrypted_port_needs_a_certificate_and_its_key() {
        assert_eq!(fault("", ""), "none");
        assert_eq!(
            fault("listen = \"127.0.0.1:0\"", ""),
            "mqtt.tls.certificate_file: must be set, because mqtt.tls.listen needs it"
        );
        assert_eq!(
            fault("certificate_file = \"a\"", "tls_listen = \"127.0.0.1:0\""),
            "mqtt.tls.key_file: must be set, because mqtt.websocket.tls_listen needs it"
        );
        assert_eq!(fault("certificate_file = \"a\"\nkey_file = \"b\"\nlisten = \"127.0.0.1:0\"", ""), "none");
    }

    #[test]
    fn client_certificates_and_their_authority_go_together() {
        assert_eq!(
            fault("client_certificate = \"required\"", ""),
            "mqtt.tls.client_ca_file: must be set, because mqtt.tls.client_certificate needs it"
        );
        assert_eq!(
            fault("client_ca_file = \"ca.pem\"", ""),
            "mqtt.tls.client_certificate: must be optional or required when mqtt.tls.client_ca_file is set"
        );
        assert_eq!(fault("client_certificate = \"optional\"\nclient_ca_file = \"ca.pem\"", ""), "none");
        assert_eq!(
            fault("crl_file = \"crl.pem\"", ""),
            "mqtt.tls.client_certificate: must be optional or required when mqtt.tls.crl_file is set"
        );
    }
}
