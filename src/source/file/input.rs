//! The bytes of a file or stream, and what identifies a file.

use std::io::{self, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use bytes::BytesMut;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use crate::store::file_imports::FileIdentity;

use super::ImportError;
use super::gzip::Gzip;
use super::stamp::Stamp;

/// Bytes at either end of a file that identify it, with its size: reading a file of many gigabytes only to know which one
/// it is would take minutes.
const IDENTIFYING: u64 = 1 << 20;
/// Bytes of one read of a file that is identified as a whole.
const BLOCK: usize = 256 << 10;

enum Source {
    /// `left`: bytes before the size that identifies it; what is appended meanwhile is another file's.
    File {
        file: File,
        left: u64,
    },
    Gzip(Gzip),
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
        let name = name_of(path);
        if !metadata.is_file() {
            return Ok(Self::stream(&name, file));
        }
        if is_packed(&name) {
            return Self::whole(name, file, metadata.len(), u64::MAX).await;
        }
        let size = metadata.len();
        let digest = digest(&mut file, size).await.map_err(cannot)?;
        let identity = Some(FileIdentity { name: name.clone(), size, digest });
        Ok(Self { name, identity, source: Source::File { file, left: size } })
    }

    /// A file that nobody looks after: not by way of a link, never one that makes the reader wait, identified by all of its
    /// content, of which there may be so many bytes. Also what tells this file from another one of the name.
    pub(super) async fn open_unattended(path: &Path, max_bytes: u64) -> Result<(Self, Stamp), ImportError> {
        let name = name_of(path);
        let cannot = |cause| ImportError::Read { name: name.clone(), cause };
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).await.map_err(cannot)?;
        let metadata = file.metadata().await.map_err(cannot)?;
        if !metadata.is_file() {
            return Err(cannot(io::Error::other("it is no ordinary file")));
        }
        let stamp = Stamp::of(&metadata);
        Ok((Self::whole(name.clone(), file, metadata.len(), max_bytes).await?, stamp))
    }

    pub(super) fn stream(name: &str, stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self { name: name.into(), identity: None, source: Source::Stream(Box::new(stream)) }
    }

    /// A file that is read to its end once, to know that it can be, and what it is whether packed or not.
    async fn whole(name: String, file: File, size: u64, max_bytes: u64) -> Result<Self, ImportError> {
        let source = if is_packed(&name) {
            Source::Gzip(Gzip::new(file.into_std().await))
        } else {
            Source::File { file, left: size }
        };
        let mut input = Self { name, identity: None, source };
        let mut whole = WholeDigest::default();
        let mut block = BytesMut::with_capacity(BLOCK);
        loop {
            block.clear();
            block.reserve(BLOCK);
            if input.read(&mut block).await? == 0 {
                break;
            }
            whole.add(&block);
            if whole.size > max_bytes {
                return Err(ImportError::TooLarge { name: input.name, max_bytes });
            }
        }
        let (size, digest) = whole.finish();
        input.identity = Some(FileIdentity { name: input.name.clone(), size, digest });
        input.seek(0).await?;
        Ok(input)
    }

    /// Reads more into `buffer`, at most what it has room for; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, ImportError> {
        let read = match &mut self.source {
            Source::File { file, left } => {
                let read = file.take(*left).read_buf(buffer).await;
                *left -= *read.as_ref().unwrap_or(&0) as u64;
                read
            }
            Source::Gzip(gzip) => gzip.read(buffer).await,
            Source::Stream(stream) => stream.read_buf(buffer).await,
        };
        read.map_err(|cause| ImportError::Read { name: self.name.clone(), cause })
    }

    /// Goes to an offset of a file.
    pub(super) async fn seek(&mut self, offset: u64) -> Result<(), ImportError> {
        let cannot = |cause| ImportError::Read { name: self.name.clone(), cause };
        match &mut self.source {
            Source::Stream(_) => Ok(()),
            Source::Gzip(gzip) => gzip.seek(offset).await.map_err(cannot),
            Source::File { file, left } => {
                file.seek(SeekFrom::Start(offset)).await.map_err(cannot)?;
                let size = self.identity.as_ref().map_or(0, |identity| identity.size);
                *left = size.saturating_sub(offset);
                Ok(())
            }
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn is_packed(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gz")
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

/// The digest of all that is in a file. Where the two ends are all of it, it is the one above, so that a file is known
/// whichever way it came.
#[derive(Default)]
struct WholeDigest {
    size: u64,
    hash: Sha256,
    /// The beginning, a byte more than both ends at most.
    beginning: Vec<u8>,
}

impl WholeDigest {
    fn add(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hash.update(bytes);
        let room = (2 * IDENTIFYING as usize + 1).saturating_sub(self.beginning.len());
        self.beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn finish(self) -> (u64, [u8; 32]) {
        let mut hash = Sha256::new();
        hash.update(self.size.to_be_bytes());
        if self.size <= 2 * IDENTIFYING {
            let end = self.beginning.len().min(IDENTIFYING as usize);
            hash.update(&self.beginning[..end]);
            hash.update(&self.beginning[self.beginning.len() - end..]);
        } else {
            hash.update(self.hash.finalize());
        }
        (self.size, hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn identity(path: &Path) -> FileIdentity {
        let (input, _) = Input::open_unattended(path, 8 << 20).await.expect("it can be read");
        input.identity.expect("it is a file")
    }

    fn same(a: &FileIdentity, b: &FileIdentity) -> bool {
        (a.size, a.digest) == (b.size, b.digest)
    }

    /// Catches a file that is taken for another one of the same size and ends, and one that is unknown because it is packed.
    #[tokio::test]
    async fn a_file_is_its_content_packed_or_not() {
        let directory = tempfile::tempdir().expect("a directory");
        for size in [0, 5, 1 << 20, (1 << 20) + 7, 2 << 20, (2 << 20) + 1, 3 << 20] {
            let content: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
            let (plain, packed) = (directory.path().join("a.csv"), directory.path().join("b.csv.gz"));
            std::fs::write(&plain, &content).expect("it is ours");
            let file = std::fs::File::create(&packed).expect("it is ours");
            let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            writer.write_all(&content).expect("it is ours");
            writer.finish().expect("it is ours");
            let whole = identity(&plain).await;
            assert!(same(&whole, &identity(&packed).await), "{size}");
            let attended = Input::open(&plain).await.expect("it can be read").identity.expect("a file");
            assert_eq!(same(&whole, &attended), size <= 2 << 20, "{size}");
            let Some(middle) = content.len().checked_sub(1).map(|last| last / 2) else { continue };
            let mut other = content;
            other[middle] ^= 1;
            std::fs::write(&plain, &other).expect("it is ours");
            assert!(!same(&whole, &identity(&plain).await), "{size}");
        }
    }

    /// Catches a bomb: a small file with more in it than anybody would send.
    #[tokio::test]
    async fn what_is_in_a_packed_file_is_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("bomb.csv.gz");
        let file = std::fs::File::create(&path).expect("it is ours");
        let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        writer.write_all(&vec![0; 9 << 20]).expect("it is ours");
        writer.finish().expect("it is ours");
        let refused = Input::open_unattended(&path, 8 << 20).await.err().expect("it is refused");
        assert!(matches!(refused, ImportError::TooLarge { max_bytes, .. } if max_bytes == 8 << 20));
        std::fs::write(&path, &std::fs::read(&path).expect("it is ours")[..5_000]).expect("it is ours");
        let refused = Input::open_unattended(&path, 16 << 20).await.err().expect("it is refused");
        assert!(refused.is_of_the_file(), "{refused}");
    }

    #[tokio::test]
    async fn a_packed_file_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.csv.gz");
        let content: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
        let file = std::fs::File::create(&path).expect("it is ours");
        let mut writer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        writer.write_all(&content).expect("it is ours");
        writer.finish().expect("it is ours");
        let (mut input, _) = Input::open_unattended(&path, 1 << 20).await.expect("it can be read");
        input.seek(400_001).await.expect("it is there");
        let mut rest = BytesMut::new();
        loop {
            rest.reserve(10_000);
            if input.read(&mut rest).await.expect("it can be read") == 0 {
                break;
            }
        }
        assert_eq!(rest, content[400_001..]);
    }
}
