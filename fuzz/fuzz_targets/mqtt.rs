//! What a client sends to the broker. The first byte says in how large parts it arrives.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((part, bytes)) = data.split_first() else { return };
    simbridge::fuzz::packets(usize::from(*part), bytes);
});
