//! Who comes in, how fast, and how much of the broker one client may take: `[mqtt.admission]` and `[mqtt.traffic]`.

use serde::{Deserialize, Serialize};

/// Connections on their way in: `[mqtt.admission]`.
///
/// Ten thousand devices behind one address of a carrier are ordinary. So an address that exceeds its rate waits in a line, and only
/// who would wait longer than `max_wait_seconds` is closed at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdmissionConfig {
    /// Default 5000 connections a second in all; the rest waits. 0 = no limit.
    pub connections_per_second: u32,
    /// Default 5000 that need not wait after a rest.
    pub connection_burst: u32,
    /// Default 1000 connections a second of one address (IPv6: of one /64); the rest waits. 0 = no limit.
    pub connections_per_second_per_address: u32,
    /// Default 2000 of one address that need not wait after a rest.
    pub connection_burst_per_address: u32,
    /// Default 20 seconds that a connection waits for its turn. 10,000 devices behind one address take 8.
    pub max_wait_seconds: u64,
    /// Default 12000 connections that wait for their turn; more are closed at once. They have no buffers yet.
    pub max_waiting_connections: usize,
    /// Default 15000 connections of one address, waiting ones included; more are closed at once. 0 = no limit.
    pub max_connections_per_address: usize,
    /// Default 2000 connections between TCP and CONNACK (TLS, WebSocket, CONNECT, login). More wait.
    pub max_handshakes: usize,
    /// Default 500 of them from one address. More wait.
    pub max_handshakes_per_address: usize,
    /// Default 3 seconds instead of `mqtt.connect_timeout_seconds` while others wait for a place, so that slow handshakes do not keep
    /// all of them.
    pub crowded_connect_timeout_seconds: u64,
    /// Default 100 offences of one address (bad logins, broken packets, handshakes that fail or never end) without consequence.
    pub offences_tolerated_per_address: u32,
    /// Default 100 milliseconds that each further offence delays new connections of its address; it is forgiven in the same time. 0 = none.
    pub offence_delay_milliseconds: u64,
    /// Default 5 seconds that this delay has at most, because others may share the address.
    pub offence_delay_max_seconds: u64,
    /// Default 65536 addresses that are told apart; more are limited together with all others only. Also, each by itself, clients whose
    /// `mqtt.traffic` is remembered while they are away, and client identifiers whose take-overs are; what exceeds it begins anew.
    pub max_addresses: usize,
    /// Default 10 take-overs of a client identifier in a row without a delay.
    pub take_over_burst: u32,
    /// Default 60 a minute after that: two clients of one identifier end each other without end. 0 = no limit.
    pub take_overs_per_minute: u32,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            connections_per_second: 5000,
            connection_burst: 5000,
            connections_per_second_per_address: 1000,
            connection_burst_per_address: 2000,
            max_wait_seconds: 20,
            max_waiting_connections: 12_000,
            max_connections_per_address: 15_000,
            max_handshakes: 2000,
            max_handshakes_per_address: 500,
            crowded_connect_timeout_seconds: 3,
            offences_tolerated_per_address: 100,
            offence_delay_milliseconds: 100,
            offence_delay_max_seconds: 5,
            max_addresses: 65_536,
            take_over_burst: 10,
            take_overs_per_minute: 60,
        }
    }
}

/// What one connected client may send: `[mqtt.traffic]`. Beyond it the broker stops reading from that client for a moment.
///
/// Usage that is taken over has its window instead (`mqtt.receive_maximum`, `mqtt.max_unacked_bytes_per_connection`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrafficConfig {
    /// Default 1000 packets a second of one client, without acknowledgements and usage. SUBSCRIBE and UNSUBSCRIBE count once for each
    /// filter. 0 = no limit.
    pub packets_per_second: u32,
    /// Default 100 packets that may come at once after a rest.
    pub packet_burst: u32,
    /// Default 1048576 bytes (1 MB) a second of topics and payloads of the same packets. 0 = no limit.
    pub bytes_per_second: u32,
    /// Default 2097152 bytes (2 MB) that may come at once after a rest.
    pub burst_bytes: u32,
    /// Default 100 packets of one client, and then it is the turn of others. A subscriber that gets one counts like a further packet.
    pub turn_packets: usize,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self {
            packets_per_second: 1000,
            packet_burst: 100,
            bytes_per_second: 1024 * 1024,
            burst_bytes: 2 * 1024 * 1024,
            turn_packets: 100,
        }
    }
}

/// Name, value and bounds of what has bounds.
pub(super) fn ranges(
    admission: &AdmissionConfig,
    traffic: &TrafficConfig,
) -> [(&'static str, u64, u64, u64); 12] {
    [
        ("admission.connection_burst", admission.connection_burst.into(), 1, 1_000_000),
        (
            "admission.connection_burst_per_address",
            admission.connection_burst_per_address.into(),
            1,
            1_000_000,
        ),
        ("admission.max_wait_seconds", admission.max_wait_seconds, 0, 300),
        ("admission.max_waiting_connections", admission.max_waiting_connections as u64, 0, 1_000_000),
        ("admission.max_handshakes", admission.max_handshakes as u64, 1, 1_000_000),
        ("admission.max_handshakes_per_address", admission.max_handshakes_per_address as u64, 1, 1_000_000),
        ("admission.crowded_connect_timeout_seconds", admission.crowded_connect_timeout_seconds, 1, 300),
        ("admission.offence_delay_milliseconds", admission.offence_delay_milliseconds, 0, 60_000),
        ("admission.offence_delay_max_seconds", admission.offence_delay_max_seconds, 0, 300),
        ("admission.max_addresses", admission.max_addresses as u64, 1, 10_000_000),
        ("admission.take_over_burst", admission.take_over_burst.into(), 1, 1_000_000),
        ("traffic.turn_packets", traffic.turn_packets as u64, 1, 100_000),
    ]
}
