//! Working memory that a thread keeps between calls.

use std::cell::Cell;

use prism_core::simd::Aligned;

thread_local! {
    static SPARE: Cell<Vec<Aligned<f32>>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `len` floats of this thread's memory, whose contents are arbitrary. Calls may nest.
///
/// Always inlined: `work` may hold vector instructions, which stay function calls unless they end up inside the function
/// that enables them.
#[inline(always)]
pub fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut spare = SPARE.take();
    let kept = spare.pop();
    SPARE.set(spare);
    let mut memory = kept.filter(|memory| memory.len() >= len).unwrap_or_else(|| Aligned::zeros(len));
    let result = work(&mut memory[..len]);
    let mut spare = SPARE.take();
    spare.push(memory);
    SPARE.set(spare);
    result
}
