//! MQTT 3.1.1 in bytes, over whatever carries them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::PATIENCE;

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn frame(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut frame = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        frame.push(length as u8 & 0x7f | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    frame.extend(body);
    frame
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// CONNECT without keep alive; the login is user name and password.
pub(crate) fn connect(client: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    let flags = 2 | if login.is_some() { 0b1100_0000 } else { 0 };
    let login = login.map(|(user, password)| [text(user), text(password)].concat()).unwrap_or_default();
    frame(0x10, &[&text("MQTT"), &[4, flags, 0, 0], &text(client), &login])
}

/// PUBLISH of QoS 1 on the usage topic of `iccid`.
pub(crate) fn publish(pkid: u16, iccid: &str, payload: &str) -> Vec<u8> {
    let topic = text(&format!("simportal/sims/{iccid}/usage"));
    frame(0x32, &[&topic, &pkid.to_be_bytes(), payload.as_bytes()])
}

pub(crate) fn puback(pkid: u16) -> [u8; 4] {
    let [high, low] = pkid.to_be_bytes();
    [0x40, 2, high, low]
}

/// A client on any stream.
pub(crate) struct Client<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Sends CONNECT; the code of CONNACK, or how it ended without one.
    pub(crate) async fn connect(
        stream: S,
        name: &str,
        login: Option<(&str, &str)>,
    ) -> io::Result<(Self, u8)> {
        let mut client = Self(stream);
        client.0.write_all(&connect(name, login)).await?;
        let [first, 2, 0, code] = client.four().await? else { panic!("no CONNACK") };
        assert_eq!(first, 0x20);
        Ok((client, code))
    }

    /// Publishes and waits for the PUBACK.
    pub(crate) async fn publish(&mut self, pkid: u16, iccid: &str, payload: &str) -> io::Result<()> {
        self.0.write_all(&publish(pkid, iccid, payload)).await?;
        assert_eq!(self.four().await?, puback(pkid));
        Ok(())
    }

    async fn four(&mut self) -> io::Result<[u8; 4]> {
        let mut answer = [0; 4];
        tokio::time::timeout(PATIENCE, self.0.read_exact(&mut answer)).await.expect("an answer in time")?;
        Ok(answer)
    }
}
