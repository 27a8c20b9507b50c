//! How much memory the frugal sampler takes from a model's file to an image, by an allocator that counts.
//!
//! The only test of its file: another one's memory would be counted too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use prism_core::artifact::Artifact;
use prism_core::latent;
use prism_core::sampler::{Isa, Precision, Sampler, frugal};

/// A generator of ngf 16 that draws 32x32 grey digits. A device has it in its flash.
static MODEL: &[u8] = include_bytes!("../../models/mnist-rounds.safetensors.zst");
/// Most bytes of stack and heap.
const LIMIT: usize = 512 << 10;
/// Stack of the thread that draws, of them.
const STACK: usize = 64 << 10;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all memory is the system allocator's; this only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, and `alloc` had it from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` makes, and the most bytes of heap at any time meanwhile beyond those at its beginning.
fn measure<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let made = work();
    (made, PEAK.load(Ordering::Relaxed) - before)
}

fn draw() -> [(Vec<f32>, usize); 2] {
    let (artifact, reading) = measure(|| Artifact::from_bytes(MODEL).unwrap());
    let model = artifact.models()[0];
    let input = latent::input(model.arch(), &latent::latent(model.arch(), 0, 3), Some(3)).unwrap();
    let kept = NOW.load(Ordering::Relaxed);
    let (image, drawing) = measure(|| frugal::image(&model, &input));
    let fast = || Sampler::with(&model, Precision::I16, Isa::Portable).images(&input, 1.try_into().unwrap());
    let (expected, sampler) = measure(fast);
    println!("reading {reading} bytes, then kept {kept}; an image {drawing}, by the sampler {sampler}");
    [(image, reading.max(kept + drawing)), (expected, kept + sampler)]
}

#[test]
fn a_small_model_draws_in_half_a_megabyte_what_the_sampler_draws() {
    let thread = std::thread::Builder::new().stack_size(STACK);
    let [(image, heap), (expected, _)] = thread.spawn(draw).unwrap().join().unwrap();
    assert!(image.iter().map(|x| x.to_bits()).eq(expected.iter().map(|x| x.to_bits())), "other pixels");
    assert!(heap + STACK <= LIMIT, "{heap} bytes of heap and {STACK} of stack are more than {LIMIT}");
}
