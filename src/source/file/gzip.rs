//! Files that are packed by gzip, read a block at a time.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use bytes::BytesMut;
use flate2::bufread::MultiGzDecoder;
use tokio::task::spawn_blocking;

/// Bytes of the packed file that are read at once.
const PACKED_BLOCK: usize = 64 << 10;

type Decoder = MultiGzDecoder<BufReader<File>>;

/// A packed file at a place of what is in it.
pub(super) struct Gzip {
    /// `None` after a read that was cut off: where the decoder stands is not known then.
    decoder: Option<Box<Decoder>>,
}

impl Gzip {
    /// At the start of a file.
    pub(super) fn new(file: File) -> Self {
        let decoder = MultiGzDecoder::new(BufReader::with_capacity(PACKED_BLOCK, file));
        Self { decoder: Some(Box::new(decoder)) }
    }

    /// Reads more into `buffer`, at most what it has room for; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let mut decoder =
            self.decoder.take().ok_or_else(|| io::Error::other("the reading was cut off before"))?;
        let room = buffer.capacity() - buffer.len();
        let unpacking = spawn_blocking(move || {
            let mut block = Vec::with_capacity(room);
            let read = decoder.by_ref().take(room as u64).read_to_end(&mut block);
            (decoder, read.map(|_| block))
        });
        let (decoder, block) = unpacking.await.map_err(io::Error::other)?;
        self.decoder = Some(decoder);
        let block = block?;
        buffer.extend_from_slice(&block);
        Ok(block.len())
    }

    /// Goes to an offset of what is in the file: everything before it is unpacked again.
    pub(super) async fn seek(&mut self, offset: u64) -> io::Result<()> {
        let decoder =
            self.decoder.take().ok_or_else(|| io::Error::other("the reading was cut off before"))?;
        let mut file = decoder.into_inner().into_inner();
        file.rewind()?;
        *self = Self::new(file);
        let mut left = offset;
        while left > 0 {
            let mut skipped =
                BytesMut::with_capacity(usize::try_from(left).unwrap_or(usize::MAX).min(PACKED_BLOCK));
            let read = self.read(&mut skipped).await? as u64;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(read);
        }
        Ok(())
    }
}
