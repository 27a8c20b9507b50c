//! What every binary here does: an input goes to all decoders of one kind ([`e2e::fuzzing`]).

pub use e2e;
pub use libfuzzer_sys;

/// A fuzz target of all decoders of the kind `$kind`.
#[macro_export]
macro_rules! decoders {
    ($kind:literal) => {
        static DECODERS: std::sync::LazyLock<Vec<$crate::e2e::fuzzing::Target>> =
            std::sync::LazyLock::new(|| $crate::e2e::fuzzing::of_kind($kind));

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            for decoder in DECODERS.iter() {
                decoder.decode(input);
            }
        });
    };
}
