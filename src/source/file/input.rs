//! The bytes of a file or stream, and what identifies a file.

use std::io::{self, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::BytesMut;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use crate::store::file_imports::FileIdentity;

use super::ImportError;

/// Bytes at either end of a file that identify it, with its size: reading a file of many gigabytes only to know which one
/// it is would take minutes.
const IDENTIFYING: u64 = 1 << 20;

enum Source {
    /// `left`: bytes before the size that identifies it; what is appended meanwhile is another file's.
    File {
        file: File,
        left: u64,
    },
    Stream(Box<dyn AsyncRead + Send + Unpin>),
}

/// What is imported.
pub(super) struct Input {
    /// For people: the file's name without its directory.
    pub(super) name: String,
    /// `None` for a stream, of which no part can be read again.
    pub(super) identity: Option<FileIdentity>,
    source: Source,
}

impl Input {
    /// A file, a pipe, or standard input for `-`.
    pub(super) async fn open(path: &Path) -> Result<Self, ImportError> {
        if path.as_os_str() == "-" {
            let cannot = |cause| ImportError::Read { name: "standard input".into(), cause };
            let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(cannot)?;
            return Ok(Self::stream("stdin", File::from_std(stdin.into())));
        }
        let shown = path.display().to_string();
        let cannot = |cause| ImportError::Read { name: shown.clone(), cause };
        let mut file = File::open(path).await.map_err(cannot)?;
        let metadata = file.metadata().await.map_err(cannot)?;
        if metadata.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        if !metadata.is_file() {
            return Ok(Self::stream(&name, file));
        }
        let size = metadata.len();
        let digest = digest(&mut file, size).await.map_err(cannot)?;
        let identity = Some(FileIdentity { name: name.clone(), size, digest });
        Ok(Self { name, identity, source: Source::File { file, left: size } })
    }

    fn stream(name: &str, stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self { name: name.into(), identity: None, source: Source::Stream(Box::new(stream)) }
    }

    /// Reads more into `buffer`, at most what it has room for; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, ImportError> {
        let read = match &mut self.source {
            Source::File { file, left } => {
                let read = file.take(*left).read_buf(buffer).await;
                *left -= *read.as_ref().unwrap_or(&0) as u64;
                read
            }
            Source::Stream(stream) => stream.read_buf(buffer).await,
        };
        read.map_err(|cause| ImportError::Read { name: self.name.clone(), cause })
    }

    /// Goes to an offset of a file.
    pub(super) async fn seek(&mut self, offset: u64) -> Result<(), ImportError> {
        let Source::File { file, left } = &mut self.source else { return Ok(()) };
        let cannot = |cause| ImportError::Read { name: self.name.clone(), cause };
        file.seek(SeekFrom::Start(offset)).await.map_err(cannot)?;
        let size = self.identity.as_ref().map_or(0, |identity| identity.size);
        *left = size.saturating_sub(offset);
        Ok(())
    }
}

/// Leaves the file at its start.
async fn digest(file: &mut File, size: u64) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(size.to_be_bytes());
    for start in [0, size.saturating_sub(IDENTIFYING)] {
        file.seek(SeekFrom::Start(start)).await?;
        let mut part = Vec::new();
        file.take(IDENTIFYING).read_to_end(&mut part).await?;
        hash.update(&part);
    }
    file.rewind().await?;
    Ok(hash.finalize().into())
}
