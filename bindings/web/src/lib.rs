//! # prism-web
//!
//! The sampler as a WebAssembly module without imports; `npm/glue.js` calls it. Nothing is decided here:
//! [`LoadedModel`] reads and draws.
//!
//! An instance holds one model, so the model's memory goes with the instance. A call takes what [`prism_web_input`] was
//! filled with, and leaves its answer, or the sentence of its error, at [`prism_web_output`]. It returns whether it did
//! what it was asked. A panic stops the instance: a trap, which the caller sees as an error.

use std::cell::RefCell;
use std::mem;
use std::num::NonZeroUsize;
use std::ops::Range;

use prism_core::inputs::{self, Inputs, Source};
use prism_core::loaded::LoadedModel;
use prism_core::sampler::Precision;
use prism_core::{Error, Result, labels, latent};

/// Most bytes of RGBA that one call returns: they are in memory twice, and a page's is small.
const MAX_BYTES: u64 = 1 << 26;

#[derive(Default)]
struct Instance {
    model: Option<LoadedModel>,
    style: Style,
    input: Vec<u8>,
    output: Vec<u8>,
}

/// What all ways to draw ask for.
struct Style {
    label: Option<String>,
    precision: Precision,
}

impl Default for Style {
    fn default() -> Self {
        Self { label: None, precision: Precision::I16 }
    }
}

thread_local! {
    static INSTANCE: RefCell<Instance> = RefCell::default();
}

/// Makes room for `bytes` bytes, which the caller fills; they are the input of the next call.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_input(bytes: usize) -> *mut u8 {
    INSTANCE.with_borrow_mut(|instance| {
        instance.output = Vec::new();
        instance.input = vec![0; bytes];
        instance.input.as_mut_ptr()
    })
}

/// What the last call left; valid until the next.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_output() -> *const u8 {
    INSTANCE.with_borrow(|instance| instance.output.as_ptr())
}

/// Bytes of what the last call left.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_output_bytes() -> usize {
    INSTANCE.with_borrow(|instance| instance.output.len())
}

/// Reads a model's file, which is the input; leaves what the model says about itself, as JSON.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_load() -> bool {
    call(|instance, input| {
        let model = LoadedModel::from_bytes(&input)?;
        let info = model.info()?;
        instance.model = Some(model);
        Ok(info.into_bytes())
    })
}

/// Sets what the calls that follow draw: the input is a precision, or a precision, a line break and a label.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_style() -> bool {
    call(|instance, input| {
        let text = String::from_utf8(input).map_err(|_| Error::usage("the label is no UTF-8"))?;
        let (precision, label) = match text.split_once('\n') {
            Some((precision, label)) => (precision, Some(label.to_owned())),
            None => (&*text, None),
        };
        instance.style = Style { label, precision: precision.parse()? };
        Ok(Vec::new())
    })
}

/// Images `first` to `first + n - 1` of `seed`, as RGBA, one after the other.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_sample(seed: u64, first: u64, n: u32) -> bool {
    call(|instance, _| instance.range(Source::Seed(seed), first, u64::from(n)))
}

/// `steps` images on the way from each of `latents` latents of `seed` to the next, as RGBA.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_interpolate(seed: u64, latents: u32, steps: u32) -> bool {
    call(|instance, _| {
        let inputs = instance.inputs(Source::Seed(seed), u64::from(latents))?.with_steps(u64::from(steps))?;
        instance.rgba(&inputs, 0..inputs.count())
    })
}

/// The latent of image `index` of `seed`, as little-endian f32.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_latent(seed: u64, index: u64) -> bool {
    call(|instance, _| {
        let latent = latent::latent(&instance.model()?.description().architecture, seed, index);
        Ok(latent.iter().flat_map(|value| value.to_le_bytes()).collect())
    })
}

/// The images of latents, which are the input as little-endian f32, one after the other, as RGBA.
#[unsafe(no_mangle)]
pub extern "C" fn prism_web_draw() -> bool {
    call(|instance, input| {
        let latents: Vec<f32> = input.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        let arch = &instance.model()?.description().architecture;
        let count = (latents.len() / arch.latent) as u64;
        instance.range(Source::rows(arch, latents, arch.latent)?, 0, count)
    })
}

fn call(work: impl FnOnce(&mut Instance, Vec<u8>) -> Result<Vec<u8>>) -> bool {
    INSTANCE.with_borrow_mut(|instance| {
        let input = mem::take(&mut instance.input);
        let answer = work(instance, input);
        let done = answer.is_ok();
        instance.output = answer.unwrap_or_else(|error| error.to_string().into_bytes());
        done
    })
}

impl Instance {
    fn model(&self) -> Result<&LoadedModel> {
        self.model.as_ref().ok_or_else(|| Error::usage("there is no model; load one"))
    }

    fn inputs(&self, source: Source, latents: u64) -> Result<Inputs> {
        let description = self.model()?.description();
        let labels = labels::resolve(description, self.style.label.as_slice())?;
        Inputs::new(description, source, latents)?.with_labels(labels)
    }

    fn range(&self, source: Source, first: u64, count: u64) -> Result<Vec<u8>> {
        let range = inputs::range(first, count)?;
        self.rgba(&self.inputs(source, range.end)?, range)
    }

    fn rgba(&self, inputs: &Inputs, range: Range<u64>) -> Result<Vec<u8>> {
        let model = self.model()?;
        let arch = &model.description().architecture;
        let (count, most) = (range.end - range.start, MAX_BYTES / (4 * arch.image_size * arch.image_size) as u64);
        if count > most {
            return Err(Error::usage(format!("{count} images are too many for one call; draw up to {most}")));
        }
        let pixels = model.draw(inputs, range, self.style.precision, NonZeroUsize::MIN)?;
        Ok(match arch.channels {
            1 => pixels.iter().flat_map(|&grey| [grey, grey, grey, 255]).collect(),
            _ => pixels.as_chunks::<3>().0.iter().flat_map(|&[red, green, blue]| [red, green, blue, 255]).collect(),
        })
    }
}
