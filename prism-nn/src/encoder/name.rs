//! Encoders by the names that settings give them.

use candle_core::Device;

use super::vgg::Vgg;
use super::{Encoder, file, pixels, precision, public, random};
use crate::error::{Error, Result};

impl Encoder {
    /// Opens the encoder called `spec`: `public`, `file:PATH`, `public:PATH`, `random:SEED`, `vgg16:PATH` or
    /// `vgg19:PATH`, or one of them behind `pixels+` or `bf16+` or, in this order, `bf16+pixels+`.
    ///
    /// # Errors
    /// [`prism_core::Error::Usage`] if there is no such encoder or file, [`prism_core::Error::Corrupt`] if the file does
    /// not hold its weights.
    pub fn open(spec: &str, device: &Device) -> Result<Self> {
        let plain = without_prefixes(spec);
        let prefixes = &spec[..spec.len() - plain.len()];
        let mut encoder = Self::open_plain(plain, device)?;
        if prefixes.ends_with(pixels::PREFIX) {
            encoder = encoder.with_pixels(device)?;
        }
        if prefixes.starts_with(precision::PREFIX) { encoder.with_bf16() } else { Ok(encoder) }
    }

    fn open_plain(spec: &str, device: &Device) -> Result<Self> {
        let (kind, argument) = spec.split_once(':').map_or((spec, None), |(kind, argument)| (kind, Some(argument)));
        match (kind, argument) {
            ("public", None) => public::open(device),
            ("file" | "public", Some(path)) => file::open(path.as_ref(), device),
            ("random", Some(seed)) => random::open(seed, device),
            _ => match (Vgg::named(kind), argument) {
                (Some(vgg), Some(path)) => vgg.open(path.as_ref(), device),
                (Some(vgg), None) => vgg.fetch(device),
                (None, _) => Err(Error::usage(format!(
                    "encoder '{spec}' is unknown; choose public, vgg16:PATH, vgg19:PATH, random:SEED or file:PATH, or \
                     pixels+, bf16+ or bf16+pixels+ before one of them"
                ))),
            },
        }
    }
}

/// What stands in an encoder's name behind [`precision::PREFIX`] and [`pixels::PREFIX`].
pub fn without_prefixes(spec: &str) -> &str {
    let spec = spec.strip_prefix(precision::PREFIX).unwrap_or(spec);
    spec.strip_prefix(pixels::PREFIX).unwrap_or(spec)
}
