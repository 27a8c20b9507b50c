//! What becomes of memory that is no longer used.

/// Buffers from this size on go back to the system when they are dropped.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Makes the allocator give large buffers back to the system, so that a run's memory does not depend on how many clients it
/// has seen.
///
/// glibc raises the size from which it does so, up to 32 MiB, as soon as a buffer of that size is dropped. Optimiser states,
/// moments and messages of clients then lie in the heap among small things that live longer, and what is between these is lost:
/// a federation of 1,000 clients at ngf 64 grew from 1.1 to 1.5 GiB within twelve rounds, where it now stays below 1. The price is a
/// hundredth of a round's time, since such pages are handed out empty again. Other allocators need no advice.
pub fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` only sets a parameter of the allocator, and takes its lock for that.
    unsafe {
        // It can only refuse a value that makes no sense, and memory is then used as before.
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
