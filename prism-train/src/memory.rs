//! What becomes of memory that is no longer used.
//!
//! glibc gives a buffer back to the system if it is large, or if it lies at the end of the heap, and adjusts both limits as it
//! goes. Neither suits every command. Other allocators need no advice, and get none.

/// Makes the allocator give large buffers back to the system, so that a run's memory does not depend on how many clients it
/// has seen.
///
/// glibc raises the size from which it does so, up to 32 MiB, as soon as a buffer of that size is dropped. Optimiser states,
/// moments and messages of clients then lie in the heap among small things that live longer, and what is between these is lost:
/// a federation of 1,000 clients at ngf 64 grew from 1.1 to 1.5 GiB within twelve rounds, where it now stays below 1. The price is a
/// hundredth of a round's time, since such pages are handed out empty again.
pub fn return_large_buffers() {
    advise(&[Advice::MapFrom(1 << 20)]);
}

/// Makes the allocator keep what is dropped, for a command that asks for the same buffers in every step: to train a classifier
/// of 60,000 images, the system emptied pages for a third of the processor's time.
pub fn keep_buffers() {
    advise(&[Advice::MapFrom(32 << 20), Advice::KeepAtEnd(1 << 30), Advice::GrowBy(64 << 20)]);
}

/// A parameter of the allocator, in bytes.
#[cfg_attr(not(all(target_os = "linux", target_env = "gnu")), expect(dead_code, reason = "nobody is advised"))]
enum Advice {
    /// Buffers from this size on are taken from the system and given back to it, each by itself.
    MapFrom(i32),
    /// So much free memory may stay at the end of the heap.
    KeepAtEnd(i32),
    /// So much is asked for beyond what is needed.
    GrowBy(i32),
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn advise(advice: &[Advice]) {
    for advice in advice {
        let (parameter, bytes) = match advice {
            Advice::MapFrom(bytes) => (libc::M_MMAP_THRESHOLD, *bytes),
            Advice::KeepAtEnd(bytes) => (libc::M_TRIM_THRESHOLD, *bytes),
            Advice::GrowBy(bytes) => (libc::M_TOP_PAD, *bytes),
        };
        // SAFETY: `mallopt` only sets a parameter of the allocator, and takes its lock for that. It can only refuse a value that
        // makes no sense, and memory is then used as before.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn advise(_advice: &[Advice]) {}
