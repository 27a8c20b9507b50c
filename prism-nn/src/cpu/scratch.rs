//! Working memory that a thread keeps between calls, aligned to cache lines.

use std::cell::Cell;

const LINE: usize = 16;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "read and written as plain floats")] [f32; LINE]);

thread_local! {
    static SPARE: Cell<Vec<Vec<CacheLine>>> = const { Cell::new(Vec::new()) };
}

/// Calls `work` with `len` floats of this thread's memory, whose contents are arbitrary. Calls may nest.
///
/// Always inlined: `work` may hold vector instructions, which stay function calls unless they end up inside the function
/// that enables them.
#[inline(always)]
pub fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut spare = SPARE.take();
    let mut lines = spare.pop().unwrap_or_default();
    SPARE.set(spare);
    let needed = len.div_ceil(LINE);
    if lines.len() < needed {
        lines.resize(needed, CacheLine([0.0; LINE]));
    }
    // SAFETY: `CacheLine` is LINE floats without padding, and the vector holds at least `needed` of them.
    let floats = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<f32>(), len) };
    let result = work(floats);
    let mut spare = SPARE.take();
    spare.push(lines);
    SPARE.set(spare);
    result
}
