//! How much memory all pictures that are being decoded may take together, whatever the number of threads.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that may be taken at once.
pub(super) struct Gate {
    free: Mutex<u64>,
    freed: Condvar,
    all: u64,
}

/// Bytes that were taken; they are given back when it is dropped.
pub(super) struct Taken<'a> {
    gate: &'a Gate,
    bytes: u64,
}

impl Gate {
    pub const fn new(all: u64) -> Self {
        Gate { free: Mutex::new(all), freed: Condvar::new(), all }
    }

    /// Takes `bytes`, or all where there are not as many, once they are free. Whoever holds some must not wait for more.
    pub fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.all);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Taken { gate: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.gate.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.gate.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn pictures_together_never_take_more_than_there_is_and_the_largest_goes_alone() {
        let (gate, held) = (Gate::new(100), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8u64 {
                let (gate, held) = (&gate, &held);
                scope.spawn(move || {
                    for turn in 0..200 {
                        let bytes = 1 + (thread * 37 + turn * 11) % 130;
                        let taken = gate.take(bytes);
                        let now = held.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes;
                        assert!(now <= 100 && taken.bytes == bytes.min(100), "{now} of 100");
                        held.fetch_sub(taken.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(*gate.free.lock().unwrap(), 100);
    }
}
