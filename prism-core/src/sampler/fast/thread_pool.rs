//! Threads that stay from call to call. Starting one, and waking a processor for it, takes as long as a good part of an
//! image.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// How often a worker checks for its next job before it sleeps: some 200 microseconds, in which a caller that draws one
/// image after another comes back.
const WORKER_SPIN_LIMIT: usize = 5000;
/// How often a caller checks whether its workers are done before it sleeps.
const CALLER_SPIN_LIMIT: usize = 1000;

/// A thread that does jobs, and ends when this is dropped.
pub(super) struct Worker {
    slot: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
}

/// Where a worker finds its jobs: one at a time, each done before the next is put there.
#[derive(Default)]
struct Slot {
    job: Mutex<Option<Job>>,
    given: AtomicUsize,
    done: AtomicUsize,
    panicked: AtomicBool,
}

enum Job {
    /// Calls `work(number)`, then wakes the caller.
    Run {
        work: &'static (dyn Fn(usize) + Sync),
        number: usize,
        caller: Thread,
    },
    Stop,
}

/// Checks `condition` up to `limit` times; whether it came to hold.
fn spin_until(limit: usize, condition: impl Fn() -> bool) -> bool {
    for _ in 0..limit {
        if condition() {
            return true;
        }
        std::hint::spin_loop();
    }
    condition()
}

/// Waits for `condition`; whoever makes it hold must unpark this thread.
fn wait_until(limit: usize, condition: impl Fn() -> bool) {
    if !spin_until(limit, &condition) {
        while !condition() {
            thread::park();
        }
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.given.load(Ordering::Relaxed)
    }

    fn put(&self, job: Job) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        self.given.fetch_add(1, Ordering::Release);
    }

    /// The worker's loop.
    fn serve(&self) {
        loop {
            wait_until(WORKER_SPIN_LIMIT, || self.given.load(Ordering::Acquire) != self.done.load(Ordering::Relaxed));
            let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(Job::Run { work, number, caller }) = job else { return };
            if catch_unwind(AssertUnwindSafe(|| work(number))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            // From here on the caller may be gone, and what it lent with it.
            self.done.fetch_add(1, Ordering::Release);
            caller.unpark();
        }
    }
}

impl Worker {
    /// Starts a thread; none if the system refuses.
    pub(super) fn start() -> Option<Worker> {
        let slot = Arc::<Slot>::default();
        let its = Arc::clone(&slot);
        let thread = thread::Builder::new().name("sampler".into()).spawn(move || its.serve()).ok()?;
        Some(Worker { slot, thread: Some(thread) })
    }

    fn give(&self, job: Job) {
        self.slot.put(job);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.give(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // It catches panics, so it has none to report.
            let _ = thread.join();
        }
    }
}

/// Does `work(0)` here and `work(1)`, `work(2)`, ... in the workers, all at once, and returns when all are done.
///
/// # Panics
/// If `work` does, anywhere.
pub(super) fn run(workers: &mut [Worker], work: &(dyn Fn(usize) + Sync)) {
    // SAFETY: only the lifetime is changed. `waiting` is dropped however this function is left, and waits until no
    // worker uses the reference any more.
    let lent = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
    let waiting = Wait(workers);
    for (worker, number) in waiting.0.iter().zip(1..) {
        worker.give(Job::Run { work: lent, number, caller: thread::current() });
    }
    work(0);
    drop(waiting);
    let panicked = |worker: &Worker| worker.slot.panicked.swap(false, Ordering::Relaxed);
    assert!(!workers.iter().any(panicked), "a thread of the sampler has panicked");
}

/// Waits for workers when it is dropped.
struct Wait<'a>(&'a [Worker]);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        for worker in self.0 {
            wait_until(CALLER_SPIN_LIMIT, || worker.slot.is_idle());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn workers_do_one_job_after_another() {
        let mut workers: Vec<Worker> = (0..3).filter_map(|_| Worker::start()).collect();
        for round in 1..200 {
            let found: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
            run(&mut workers, &|number| found[number].store(round + number, Ordering::Relaxed));
            assert!((0..4).all(|number| found[number].load(Ordering::Relaxed) == round + number));
            if round % 50 == 0 {
                // Long enough that they sleep.
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_workers_stay_usable() {
        let mut workers: Vec<Worker> = (0..2).filter_map(|_| Worker::start()).collect();
        for panicking in [1, 0, 2] {
            let attempt = || run(&mut workers, &|number| assert!(number != panicking, "on purpose"));
            assert!(catch_unwind(AssertUnwindSafe(attempt)).is_err());
            let sum = AtomicUsize::new(0);
            run(&mut workers, &|number| _ = sum.fetch_add(number, Ordering::Relaxed));
            assert_eq!(sum.into_inner(), 3);
        }
    }
}
