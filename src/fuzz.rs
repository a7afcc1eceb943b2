//! What the fuzz targets in `fuzz/` call: everything that takes apart bytes of others. Compiled with `--cfg fuzzing` only, which
//! cargo-fuzz sets. Each door stands in the module whose parts it opens.

pub use crate::api::fuzz::bodies;
pub use crate::broker::fuzz::{packets, topics};
pub use crate::source::file::fuzz::rows;
pub use crate::source::openvpn::fuzz::{management, status};
pub use crate::source::radius::fuzz::datagram;
