//! The management interface of a server: asked for its status, on a connection of its own each time.
//!
//! The server talks to one program at a time, so the connection ends with the answer. What begins with `>` the server says by
//! itself, between any two lines.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Without the end of a line.
const PROMPT: &[u8] = b"ENTER PASSWORD:";
const READ_AT_ONCE: usize = 16_384;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagementAddress {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

impl ManagementAddress {
    /// `host:port`, or the path of a socket from the root on.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Unix(text.into()));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (!host.is_empty() && port > 0).then(|| Self::Tcp(text.into()))
    }
}

impl fmt::Display for ManagementAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Why a server gave no status.
#[derive(Debug, Error)]
pub(super) enum ManagementFault {
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("the server ended the connection")]
    Closed,
    #[error("it wants a password; set password_file")]
    PasswordWanted,
    #[error("the password of password_file is wrong")]
    PasswordWrong,
    #[error("what answers there is no management interface; it said `{0}`")]
    NotManagement(String),
    #[error("the server answered `{0}`")]
    Refused(String),
    #[error("the answer has more than {0} bytes; raise status_max_bytes")]
    TooLong(u64),
}

/// Connects, asks for the status in version 3, and ends the connection.
pub(super) async fn status(
    address: &ManagementAddress,
    password: Option<&str>,
    max_bytes: u64,
) -> Result<Vec<u8>, ManagementFault> {
    match address {
        ManagementAddress::Tcp(address) => {
            Conversation::new(TcpStream::connect(address).await?, max_bytes).status(password).await
        }
        ManagementAddress::Unix(path) => {
            Conversation::new(UnixStream::connect(path).await?, max_bytes).status(password).await
        }
    }
}

enum Said {
    Line(Vec<u8>),
    Prompt,
}

pub(super) struct Conversation<S> {
    stream: S,
    /// Read, and not taken yet.
    buffer: Vec<u8>,
    /// Bytes of it that are known to hold no end of a line.
    searched: usize,
    left_bytes: u64,
    max_bytes: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    pub(super) fn new(stream: S, max_bytes: u64) -> Self {
        Self { stream, buffer: Vec::new(), searched: 0, left_bytes: max_bytes, max_bytes }
    }

    pub(super) async fn status(mut self, password: Option<&str>) -> Result<Vec<u8>, ManagementFault> {
        self.greet(password).await?;
        self.stream.write_all(b"status 3\n").await?;
        let mut status = Vec::new();
        loop {
            let Said::Line(line) = self.next().await? else { return Err(ManagementFault::PasswordWrong) };
            if line.starts_with(b">") {
                continue;
            }
            if status.is_empty() && line.starts_with(b"ERROR:") {
                return Err(ManagementFault::Refused(printable(&line)));
            }
            status.extend_from_slice(&line);
            status.push(b'\n');
            if line == b"END" {
                break;
            }
        }
        // The answer is here; whether the server hears the farewell does not matter.
        self.stream.write_all(b"quit\n").await.ok();
        Ok(status)
    }

    async fn greet(&mut self, password: Option<&str>) -> Result<(), ManagementFault> {
        let mut answered = false;
        loop {
            match (self.next().await?, password) {
                (Said::Prompt, _) if answered => return Err(ManagementFault::PasswordWrong),
                (Said::Prompt, None) => return Err(ManagementFault::PasswordWanted),
                (Said::Prompt, Some(password)) => {
                    self.stream.write_all(format!("{password}\n").as_bytes()).await?;
                    answered = true;
                }
                (Said::Line(line), _) if line.starts_with(b">INFO:") => return Ok(()),
                (Said::Line(line), _) if line.starts_with(b">") || line.starts_with(b"SUCCESS:") => {}
                (Said::Line(line), _) if answered && line.starts_with(b"ERROR:") => {
                    return Err(ManagementFault::PasswordWrong);
                }
                (Said::Line(line), _) => return Err(ManagementFault::NotManagement(printable(&line))),
            }
        }
    }

    /// The next line without its end, or the prompt, which has none.
    async fn next(&mut self) -> Result<Said, ManagementFault> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=self.searched + at).collect();
                self.searched = 0;
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(Said::Line(line));
            }
            self.searched = self.buffer.len();
            if self.buffer == PROMPT {
                self.buffer.clear();
                self.searched = 0;
                return Ok(Said::Prompt);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), ManagementFault> {
        self.buffer.reserve(READ_AT_ONCE);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read == 0 {
            return Err(ManagementFault::Closed);
        }
        self.left_bytes =
            self.left_bytes.checked_sub(read as u64).ok_or(ManagementFault::TooLong(self.max_bytes))?;
        Ok(())
    }
}

/// What a server said, for a message.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(400)]);
    text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
