use rand::distr::{Alphanumeric, SampleString};

/// 24 letters and digits: 142 bits, beyond guessing.
const LENGTH: usize = 24;

/// A password that nobody chose.
pub(super) fn make_password() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), LENGTH)
}
