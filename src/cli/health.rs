use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::Loaded;

use super::failure::Failure;

const PATIENCE: Duration = Duration::from_secs(5);
/// The answer is a few hundred bytes; what is longer is not ours.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// For container health checks: images need no HTTP client of their own.
pub(super) async fn run(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let (ready, body) = get(loaded, "/readyz").await?;
    println!("{body}");
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(69) })
}

/// Asks the instance that runs with this configuration: whether the answer was 200, and its body.
pub(super) async fn get(loaded: &Loaded, path: &str) -> Result<(bool, String), Failure> {
    let address: SocketAddr = loaded
        .config
        .http
        .listen
        .parse()
        .map_err(|_| Failure::new(78, "http.listen must be an address and port"))?;
    let address = reachable(address);
    let answer = match tokio::time::timeout(PATIENCE, ask(address, path)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(Failure::new(69, format!("http://{address}{path}: {error}"))),
        Err(_) => return Err(Failure::new(69, format!("http://{address}{path} does not answer"))),
    };
    let fine = answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200");
    Ok((fine, answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()))
}

/// 0.0.0.0 is an address to listen on, not to connect to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback =
            if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
