//! Threads that stay from call to call. Starting one, and waking a processor for it, takes as long as a good part of an image.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// How often a helper looks for its next order before it sleeps: some 200 microseconds, in which a caller that draws one
/// image after another comes back.
const LINGER: usize = 5000;
/// How often a caller looks whether its helpers are done before it sleeps.
const PATIENCE: usize = 1000;

/// A thread that carries out orders, and ends when this is dropped.
pub(super) struct Helper {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where a helper finds its orders: one at a time, each done before the next is given.
#[derive(Default)]
struct Desk {
    order: Mutex<Option<Order>>,
    given: AtomicUsize,
    done: AtomicUsize,
    panicked: AtomicBool,
}

enum Order {
    /// What to do, by the number of the one who does it; whose number; and who waits for it.
    Work(&'static (dyn Fn(usize) + Sync), usize, Thread),
    Leave,
}

/// Looks at most `times` whether something is so.
fn look(times: usize, so: impl Fn() -> bool) -> bool {
    for _ in 0..times {
        if so() {
            return true;
        }
        std::hint::spin_loop();
    }
    so()
}

/// Waits until something is so, of which whoever makes it so will unpark this thread.
fn wait(times: usize, so: impl Fn() -> bool) {
    if !look(times, &so) {
        while !so() {
            thread::park();
        }
    }
}

impl Desk {
    fn is_idle(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.given.load(Ordering::Relaxed)
    }

    fn give(&self, order: Order) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some(order);
        self.given.fetch_add(1, Ordering::Release);
    }

    /// What the helper does all its life.
    fn serve(&self) {
        loop {
            wait(LINGER, || self.given.load(Ordering::Acquire) != self.done.load(Ordering::Relaxed));
            let order = self.order.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(Order::Work(work, number, caller)) = order else { return };
            if catch_unwind(AssertUnwindSafe(|| work(number))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            // From here on the caller may be gone, and what it lent with it.
            self.done.fetch_add(1, Ordering::Release);
            caller.unpark();
        }
    }
}

impl Helper {
    /// Starts a thread; none if the system refuses.
    pub(super) fn start() -> Option<Helper> {
        let desk = Arc::<Desk>::default();
        let its = Arc::clone(&desk);
        let thread = thread::Builder::new().name("sampler".into()).spawn(move || its.serve()).ok()?;
        Some(Helper { desk, thread: Some(thread) })
    }

    fn order(&self, order: Order) {
        self.desk.give(order);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.order(Order::Leave);
        if let Some(thread) = self.thread.take() {
            // It catches panics, so it has none to report.
            let _ = thread.join();
        }
    }
}

/// Does `work(0)` here and `work(1)`, `work(2)`, ... with the helpers, all at once, and returns when all are done.
///
/// # Panics
/// If `work` does, anywhere.
pub(super) fn run(helpers: &mut [Helper], work: &(dyn Fn(usize) + Sync)) {
    // SAFETY: only the lifetime is changed. `waiting` is dropped however this function is left, and waits until no
    // helper uses the reference any more.
    let lent = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
    let waiting = Wait(helpers);
    for (helper, number) in waiting.0.iter().zip(1..) {
        helper.order(Order::Work(lent, number, thread::current()));
    }
    work(0);
    drop(waiting);
    let panicked = |helper: &Helper| helper.desk.panicked.swap(false, Ordering::Relaxed);
    assert!(!helpers.iter().any(panicked), "a thread that helped has panicked");
}

/// Waits for helpers when it is dropped.
struct Wait<'a>(&'a [Helper]);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        for helper in self.0 {
            wait(PATIENCE, || helper.desk.is_idle());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn helpers_do_what_is_asked_again_and_again() {
        let mut helpers: Vec<Helper> = (0..3).filter_map(|_| Helper::start()).collect();
        for round in 1..200 {
            let found: Vec<AtomicUsize> = (0..4).map(|_| AtomicUsize::new(0)).collect();
            run(&mut helpers, &|number| found[number].store(round + number, Ordering::Relaxed));
            assert!((0..4).all(|number| found[number].load(Ordering::Relaxed) == round + number));
            if round % 50 == 0 {
                // Long enough that they sleep.
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn a_panic_comes_back_and_helpers_stay_of_use() {
        let mut helpers: Vec<Helper> = (0..2).filter_map(|_| Helper::start()).collect();
        for panicking in [1, 0, 2] {
            let attempt = || run(&mut helpers, &|number| assert!(number != panicking, "on purpose"));
            assert!(catch_unwind(AssertUnwindSafe(attempt)).is_err());
            let sum = AtomicUsize::new(0);
            run(&mut helpers, &|number| _ = sum.fetch_add(number, Ordering::Relaxed));
            assert_eq!(sum.into_inner(), 3);
        }
    }
}
