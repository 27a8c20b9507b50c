//! Divides images among teams of threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::draw::{Images, WorkerContext};
use super::network::Network;
use super::space::{Space, most_images};
use super::team::{Member, Team};
use super::thread_pool::{self, Worker};
use crate::sampler::model::Model;
use crate::sampler::scheme::Schemes;
use crate::simd::Isa;

/// Images for which a thread works alone; with fewer, several threads share an image.
const IMAGES_ALONE: usize = 4;

/// A generator, and the memory and threads that drawing with it has taken so far.
pub(super) struct Engine<E: Schemes> {
    pub(super) network: Network<E>,
    spaces: Mutex<Vec<Space<E>>>,
    workers: Mutex<Vec<Worker>>,
}

/// How images are divided: among how many teams, of how many threads, how many images at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    teams: usize,
    threads: usize,
    batch: usize,
}

impl Division {
    /// For `count` images (at least one), `threads` threads and at most `most` images at a time.
    fn new(count: usize, threads: usize, most: usize) -> Self {
        let teams = (count / IMAGES_ALONE).clamp(1, threads);
        // Pieces of equal size, so that teams finish together.
        let pieces = count.div_ceil(most).next_multiple_of(teams);
        Division { teams, threads: threads / teams, batch: count.div_ceil(pieces) }
    }
}

/// What is to be drawn.
struct Work<'a> {
    inputs: &'a [f32],
    images: Images,
    batch: usize,
    queue: AtomicUsize,
}

impl Work<'_> {
    /// Draws piece after piece until none is left.
    fn run<E: Schemes>(&self, mut context: WorkerContext<'_, E>) {
        let (width, pixels) = (context.network.arch.inputs(), context.network.arch.pixels());
        loop {
            let piece = context.member.next(&self.queue);
            let Some(inputs) = self.inputs.chunks(self.batch * width).nth(piece) else { return };
            // SAFETY: the network's instruction set is one of this machine's, each team has its own memory and piece,
            // and there is room for an image for each row of inputs.
            unsafe { context.draw(inputs, Images(self.images.0.add(piece * self.batch * pixels))) };
        }
    }
}

impl<E: Schemes> Engine<E> {
    pub(super) fn new(model: &Model<'_>, isa: Isa) -> Self {
        assert!(Isa::available().contains(&isa), "this machine has no {isa:?}");
        Engine { network: Network::new(model, isa), spaces: Mutex::default(), workers: Mutex::default() }
    }

    /// The images of `inputs`, rows of the generator's input, as `[n, channels, size, size]`.
    pub(super) fn images(&self, inputs: &[f32], threads: NonZeroUsize) -> Vec<f32> {
        let count = inputs.len() / self.network.arch.inputs();
        let mut images = vec![0.0; count * self.network.arch.pixels()];
        if count == 0 {
            return images;
        }
        // A layer has no more than a few parts for each row of an image; more threads would only wait.
        let threads = threads.get().min(count.max(self.network.arch.image_size));
        let division = Division::new(count, threads, most_images(&self.network));
        let teams: Vec<Team> = (0..division.teams).map(|_| Team::default()).collect();
        let mut spaces = self.take_spaces(division);
        let mut shared: Vec<_> = spaces.iter_mut().map(Space::share).collect();
        let work =
            Work { inputs, images: Images(images.as_mut_ptr()), batch: division.batch, queue: AtomicUsize::new(0) };
        let contexts = shared.iter_mut().zip(&teams).flat_map(|((views, scratch), team)| {
            let members = scratch.iter_mut().take(division.threads).enumerate();
            members.map(|(rank, scratch)| {
                let member = Member { team, rank, size: division.threads };
                WorkerContext { network: &self.network, member, views, scratch }
            })
        });
        self.run(&work, contexts.collect());
        debug_assert!(work.queue.load(Ordering::Relaxed) * work.batch * self.network.arch.inputs() >= inputs.len());
        lock(&self.spaces).append(&mut spaces);
        images
    }

    /// Does the work with a thread for every context, this one with the first.
    fn run(&self, work: &Work<'_>, mut contexts: Vec<WorkerContext<'_, E>>) {
        let mut workers = self.take_workers(contexts.len() - 1);
        if workers.len() + 1 < contexts.len() {
            // The system refuses threads: no team can be complete but that of this thread alone.
            workers.clear();
            contexts.truncate(1);
            contexts[0].member.size = 1;
        }
        let contexts: Vec<_> = contexts.into_iter().map(|context| Mutex::new(Some(context))).collect();
        thread_pool::run(&mut workers, &|number| {
            if let Some(context) = lock(&contexts[number]).take() {
                work.run(context);
            }
        });
        lock(&self.workers).append(&mut workers);
    }

    /// Up to `count` threads: those that earlier calls have left, then new ones.
    fn take_workers(&self, count: usize) -> Vec<Worker> {
        let mut kept = lock(&self.workers);
        let rest = kept.len().saturating_sub(count);
        let mut workers = kept.split_off(rest);
        drop(kept);
        workers.extend(std::iter::from_fn(Worker::start).take(count - workers.len()));
        workers
    }

    /// Memory for each team: what earlier calls have left, if it is large enough.
    fn take_spaces(&self, division: Division) -> Vec<Space<E>> {
        let mut kept = std::mem::take(&mut *lock(&self.spaces));
        kept.retain(|space| space.images >= division.batch && space.scratch.len() >= division.threads);
        kept.truncate(division.teams);
        kept.resize_with(division.teams, || Space::new(&self.network, division.batch, division.threads));
        kept
    }
}

/// The value inside, even if a thread panicked over it: every use of these leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_division_uses_all_threads_and_bounds_the_batch() {
        let division = |count, threads, most| {
            let Division { teams, threads, batch } = Division::new(count, threads, most);
            (teams, threads, batch)
        };
        assert_eq!(division(64, 2, 8), (2, 1, 8));
        assert_eq!(division(1, 2, 8), (1, 2, 1));
        assert_eq!(division(9, 2, 8), (2, 1, 5));
        assert_eq!(division(8, 8, 8), (2, 4, 4));
        assert_eq!(division(65, 1, 8), (1, 1, 8));
    }
}
