//! Draws an image of a model of ngf 16 (32x32, grey) on a Cortex-M with half a megabyte of memory, and says the SHA-256 of
//! its numbers.

#![no_std]
#![no_main]

use core::fmt::Write;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hio};
use embedded_alloc::LlffHeap as Heap;
use panic_semihosting as _;
use prism_core::artifact::Artifact;
use prism_core::latent;
use prism_core::sampler::frugal;
use sha2::{Digest, Sha256};

/// In flash.
static MODEL: &[u8] = include_bytes!("../../../models/mnist-rounds.safetensors.zst");
const HEAP_BYTES: usize = 384 << 10;

#[global_allocator]
static HEAP: Heap = Heap::empty();

#[entry]
fn main() -> ! {
    static mut ARENA: [u8; HEAP_BYTES] = [0; HEAP_BYTES];
    // SAFETY: called once, before anything is allocated; `entry` hands the arena out as a reference to this function alone.
    unsafe { HEAP.init(ARENA.as_mut_ptr() as usize, HEAP_BYTES) };
    let mut out = hio::hstdout().unwrap();
    let artifact = Artifact::from_bytes(MODEL).unwrap();
    let model = &artifact.models()[0];
    let label = latent::default_label(model.arch(), 3);
    let input = latent::input(model.arch(), &latent::latent(model.arch(), 0, 3), label).unwrap();
    let hash = frugal::image(model, &input).iter().fold(Sha256::new(), |hash, x| hash.chain_update(x.to_le_bytes()));
    for byte in hash.finalize() {
        write!(out, "{byte:02x}").unwrap();
    }
    writeln!(out).unwrap();
    debug::exit(debug::EXIT_SUCCESS);
    loop {}
}
