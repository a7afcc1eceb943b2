//! How much a run repeats, and with which random numbers.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// `long` when a release is proven, `short` in an ordinary run.
pub(crate) fn either<T>(short: T, long: T) -> T {
    match std::env::var("SIMBRIDGE_TEST_FAULTS").as_deref() {
        Ok("long") => long,
        Ok(other) => panic!("SIMBRIDGE_TEST_FAULTS is `{other}`, and can only be `long`"),
        Err(_) => short,
    }
}

/// Random numbers whose seed is printed.
pub(crate) fn seeded() -> StdRng {
    let given = std::env::var("SIMBRIDGE_TEST_SEED").ok();
    let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("SIMBRIDGE_TEST_SEED is a number"));
    println!("SIMBRIDGE_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
