//! Clients side by side: each worker takes the next client and computes it on threads of its own.
//!
//! One local step of a small model cannot fill all cores, but several clients can. Each worker owns a rayon pool, so the
//! kernels inside a step never wait for another client. Results come back in the order of the clients, and no kernel's
//! result depends on its pool's size, so the number of threads changes the time and nothing else.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use prism_fl::{Error, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// A fixed set of worker pools.
pub struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    /// Shares `threads` threads among at most `clients` workers; `threads` 0 stands for one per core.
    ///
    /// # Errors
    /// If the system refuses the threads.
    pub fn new(threads: usize, clients: usize) -> Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let workers = threads.min(clients).max(1);
        let pool = |worker: usize| {
            let share = threads / workers + usize::from(worker < threads % workers);
            ThreadPoolBuilder::new().num_threads(share).build().map_err(|e| {
                Error::usage(format!("{threads} threads cannot be started ({e}); choose a smaller --threads"))
            })
        };
        Ok(Workers { pools: (0..workers).map(pool).collect::<Result<_>>()? })
    }

    /// How many items are worked on at once.
    pub fn count(&self) -> usize {
        self.pools.len()
    }

    /// Calls `work` for each item and returns the results in the order of the items.
    ///
    /// # Errors
    /// The first error in that order; items not yet begun when an error occurs are left out.
    pub fn map<I: Sync, T: Send>(&self, items: &[I], work: impl Fn(&I) -> Result<T> + Sync) -> Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::with_capacity(items.len()));
        let serve = |pool: &ThreadPool| {
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(position) else { return };
                let result = pool.install(|| work(item));
                if result.is_err() {
                    next.store(items.len(), Ordering::Relaxed);
                }
                results.lock().unwrap_or_else(|e| e.into_inner()).push((position, result));
            }
        };
        std::thread::scope(|scope| {
            for pool in &self.pools {
                scope.spawn(|| serve(pool));
            }
        });
        let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
        results.sort_by_key(|(position, _)| *position);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(threads, 3).unwrap();
            let squares = workers.map(&[1, 2, 3, 4, 5, 6, 7], |n| Ok(n * n)).unwrap();
            assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49]);
        }
    }

    #[test]
    fn an_error_ends_the_round() {
        let workers = Workers::new(2, 2).unwrap();
        let result = workers.map(&[1, 2, 3], |n| if *n == 2 { Err(Error::usage("two")) } else { Ok(*n) });
        assert_eq!(result.unwrap_err().to_string(), "two");
    }
}
