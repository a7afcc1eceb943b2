//! The streams below a connection, without one.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::broker::tls::Tls;
use crate::broker::transport::{Listener, Transport, open};
use crate::config::mqtt::MqttConfig;
use crate::config::transport::TlsConfig;

use super::harness::within;

/// More than the smallest socket buffers hold, less than a TLS session takes without writing.
const ANSWER_BYTES: usize = 48 * 1024;

/// A server's certificate, and a client that trusts it.
fn tls() -> (Arc<Tls>, TlsConnector) {
    let directory = tempfile::tempdir().unwrap();
    let (key, params) =
        (KeyPair::generate().unwrap(), CertificateParams::new(["localhost".to_owned()]).unwrap());
    let certificate = params.self_signed(&key).unwrap();
    let files = TlsConfig {
        certificate_file: directory.path().join("server.pem"),
        key_file: directory.path().join("server.key"),
        ..TlsConfig::default()
    };
    std::fs::write(&files.certificate_file, certificate.pem()).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(Tls::load(&files).unwrap()), Arc::new(client).into())
}

/// Both ends of a connection whose sockets hold little.
async fn connected() -> (Listener, TcpStream) {
    let listening = TcpSocket::new_v4().unwrap();
    listening.set_send_buffer_size(4096).unwrap();
    listening.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = listening.listen(1).unwrap();
    let connecting = TcpSocket::new_v4().unwrap();
    connecting.set_recv_buffer_size(4096).unwrap();
    let client = connecting.connect(listener.local_addr().unwrap()).await.unwrap();
    (Listener::mqtt(listener, None), client)
}

/// Writes everything, and then does nothing that could write more.
async fn answer(mut transport: Transport) -> Transport {
    let mut out = BytesMut::zeroed(ANSWER_BYTES);
    while !out.is_empty() {
        assert!(within(transport.write(&mut out)).await.unwrap() > 0);
    }
    transport
}

async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> usize {
    let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut read = 0;
    while read < ANSWER_BYTES {
        read += socket.next().await.unwrap().unwrap().into_data().len();
    }
    read
}

/// Catches an answer that stays in the TLS session or in the WebSocket because nothing flushes it. One thread: the client
/// cannot empty the sockets while they are filled.
#[tokio::test]
async fn what_is_written_reaches_the_client_also_when_the_sockets_were_full() {
    let (tls, connector) = tls();
    for (encrypted, in_frames) in [(false, false), (true, false), (false, true), (true, true)] {
        let (Listener { socket: listener, .. }, client) = connected().await;
        let certificate = encrypted.then(|| tls.clone());
        let listener = match in_frames {
            true => Listener::websocket(listener, certificate, &[]),
            false => Listener::mqtt(listener, certificate),
        };
        let connector = connector.clone();
        let reading = tokio::spawn(async move {
            let name = ServerName::try_from("localhost").unwrap();
            let mut all = vec![0; ANSWER_BYTES];
            match (encrypted, in_frames) {
                (false, false) => { client }.read_exact(&mut all).await.unwrap(),
                (false, true) => websocket(client).await,
                (true, false) => {
                    connector.connect(name, client).await.unwrap().read_exact(&mut all).await.unwrap()
                }
                (true, true) => websocket(connector.connect(name, client).await.unwrap()).await,
            }
        });
        let (tcp, _) = listener.socket.accept().await.unwrap();
        let Ok((transport, _)) = within(open(tcp, &listener.protocol, &MqttConfig::default())).await else {
            panic!("no handshake")
        };
        let _open = answer(transport).await;
        assert_eq!(within(reading).await.unwrap(), ANSWER_BYTES, "{encrypted} {in_frames}");
    }
}

/// Catches an end without close_notify that counts as a broken network, and bytes before it that are lost.
#[tokio::test]
async fn a_tls_client_that_goes_without_a_word_has_closed_its_connection() {
    let (tls, connector) = tls();
    let (Listener { socket: listener, .. }, client) = connected().await;
    let listener = Listener::mqtt(listener, Some(tls));
    let client = tokio::spawn(async move {
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), client).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"last words").await.unwrap();
        stream.into_inner().0
    });
    let (tcp, _) = listener.socket.accept().await.unwrap();
    let Ok((mut transport, _)) = within(open(tcp, &listener.protocol, &MqttConfig::default())).await else {
        panic!("no handshake")
    };
    drop(within(client).await.unwrap());
    let mut buffer = BytesMut::new();
    loop {
        within(transport.readable()).await.unwrap();
        match transport.try_read(&mut buffer).unwrap() {
            Some(0) => break,
            _ => continue,
        }
    }
    assert_eq!(&buffer[..], b"last words");
}
