//! Deals images out among teams of threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::crew::{self, Helper};
use super::draw::{Images, Worker};
use super::layer::Scratch;
use super::model::Model;
use super::network::Network;
use super::number::Number;
use super::space::{Space, Views, most_images};
use super::team::{Member, Team};
use crate::simd::Isa;

/// Images for which a thread works alone; with fewer, several threads share an image.
const IMAGES_ALONE: usize = 4;

/// A generator, and the memory and threads that drawing with it has taken so far.
pub(super) struct Engine<E: Number> {
    pub(super) network: Network<E>,
    spaces: Mutex<Vec<Space<E>>>,
    helpers: Mutex<Vec<Helper>>,
}

/// How a number of images is drawn: by how many teams, of how many threads, how many images at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    teams: usize,
    threads: usize,
    batch: usize,
}

impl Plan {
    /// For `count` images (at least one), `threads` threads and at most `most` images at a time.
    fn new(count: usize, threads: usize, most: usize) -> Self {
        let teams = (count / IMAGES_ALONE).clamp(1, threads);
        // Pieces of equal size, so that teams finish together.
        let pieces = count.div_ceil(most).next_multiple_of(teams);
        Plan { teams, threads: threads / teams, batch: count.div_ceil(pieces) }
    }
}

/// What is to be drawn.
struct Work<'a> {
    inputs: &'a [f32],
    images: Images,
    batch: usize,
    queue: AtomicUsize,
}

/// What one thread is given: its place in a team, and memory.
struct Seat<'a, E: Number> {
    member: Member<'a>,
    views: &'a Views<E>,
    scratch: &'a mut Scratch<E>,
}

impl<E: Number> Seat<'_, E> {
    /// Draws piece after piece until none is left.
    fn work(self, network: &Network<E>, work: &Work<'_>) {
        let mut worker = Worker { network, member: self.member, views: self.views, scratch: self.scratch };
        let (width, pixels) = (network.arch.inputs(), network.arch.pixels());
        loop {
            let piece = self.member.next(&work.queue);
            let Some(inputs) = work.inputs.chunks(work.batch * width).nth(piece) else { return };
            // SAFETY: the network's instruction set is one of this machine's, each team has its own memory and piece, and
            // there is room for an image for each row of inputs.
            unsafe { worker.draw(inputs, Images(work.images.0.add(piece * work.batch * pixels))) };
        }
    }
}

impl<E: Number> Engine<E> {
    pub(super) fn new(model: &Model<'_>, isa: Isa) -> Self {
        assert!(Isa::available().contains(&isa), "this machine has no {isa:?}");
        Engine { network: Network::new(model, isa), spaces: Mutex::default(), helpers: Mutex::default() }
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
        let plan = Plan::new(count, threads, most_images(&self.network));
        let teams: Vec<Team> = (0..plan.teams).map(|_| Team::default()).collect();
        let mut spaces = self.take_spaces(plan);
        let mut shared: Vec<_> = spaces.iter_mut().map(Space::share).collect();
        let work = Work { inputs, images: Images(images.as_mut_ptr()), batch: plan.batch, queue: AtomicUsize::new(0) };
        let seats = shared.iter_mut().zip(&teams).flat_map(|((views, scratch), team)| {
            let members = scratch.iter_mut().take(plan.threads).enumerate();
            members.map(|(rank, scratch)| Seat { member: Member { team, rank, size: plan.threads }, views, scratch })
        });
        self.run(&work, seats.collect());
        debug_assert!(work.queue.load(Ordering::Relaxed) * work.batch * self.network.arch.inputs() >= inputs.len());
        lock(&self.spaces).append(&mut spaces);
        images
    }

    /// Lets a thread work at every seat, this one at the first.
    fn run(&self, work: &Work<'_>, mut seats: Vec<Seat<'_, E>>) {
        let mut helpers = self.take_helpers(seats.len() - 1);
        if helpers.len() + 1 < seats.len() {
            // The system refuses threads: no team can be complete but that of this thread alone.
            helpers.clear();
            seats.truncate(1);
            seats[0].member.size = 1;
        }
        let seats: Vec<_> = seats.into_iter().map(|seat| Mutex::new(Some(seat))).collect();
        crew::run(&mut helpers, &|number| {
            if let Some(seat) = lock(&seats[number]).take() {
                seat.work(&self.network, work);
            }
        });
        lock(&self.helpers).append(&mut helpers);
    }

    /// Up to `count` threads: those that earlier calls have left, then new ones.
    fn take_helpers(&self, count: usize) -> Vec<Helper> {
        let mut kept = lock(&self.helpers);
        let rest = kept.len().saturating_sub(count);
        let mut helpers = kept.split_off(rest);
        drop(kept);
        helpers.extend(std::iter::from_fn(Helper::start).take(count - helpers.len()));
        helpers
    }

    /// Memory for each team: what earlier calls have left, if it is large enough.
    fn take_spaces(&self, plan: Plan) -> Vec<Space<E>> {
        let mut kept = std::mem::take(&mut *lock(&self.spaces));
        kept.retain(|space| space.images >= plan.batch && space.scratch.len() >= plan.threads);
        kept.truncate(plan.teams);
        kept.resize_with(plan.teams, || Space::new(&self.network, plan.batch, plan.threads));
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
    fn plans_use_all_threads_and_bound_the_batch() {
        let plan = |count, threads, most| {
            let Plan { teams, threads, batch } = Plan::new(count, threads, most);
            (teams, threads, batch)
        };
        assert_eq!(plan(64, 2, 8), (2, 1, 8));
        assert_eq!(plan(1, 2, 8), (1, 2, 1));
        assert_eq!(plan(9, 2, 8), (2, 1, 5));
        assert_eq!(plan(8, 8, 8), (2, 4, 4));
        assert_eq!(plan(65, 1, 8), (1, 1, 8));
    }
}
