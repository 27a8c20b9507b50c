//! A team: threads that work on the same images, and how work is divided among them.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often a member checks again before it lets other threads run: some 80 microseconds.
const SPIN_LIMIT: usize = 2000;

/// The meeting point of a team's threads.
#[derive(Default)]
pub(super) struct Team {
    arrived: AtomicUsize,
    meetings: AtomicUsize,
    /// The piece of work that the team is at.
    piece: AtomicUsize,
}

/// One thread of a team.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) team: &'a Team,
    /// Its number, from 0.
    pub(super) rank: usize,
    /// Threads in the team.
    pub(super) size: usize,
}

impl Member<'_> {
    /// Waits until every member has come here; what each wrote before is then visible to all.
    pub(super) fn meet(&self) {
        if self.size == 1 {
            return;
        }
        let meeting = self.team.meetings.load(Ordering::Acquire);
        if self.team.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            self.team.arrived.store(0, Ordering::Relaxed);
            self.team.meetings.store(meeting.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut checks = 0;
        while self.team.meetings.load(Ordering::Acquire) == meeting {
            checks += 1;
            if checks < SPIN_LIMIT { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// The team's next piece of work from a queue that all teams share.
    pub(super) fn next(&self, queue: &AtomicUsize) -> usize {
        if self.rank == 0 {
            self.team.piece.store(queue.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        }
        self.meet();
        self.team.piece.load(Ordering::Relaxed)
    }

    /// This member's part of `0..n`.
    pub(super) fn part(&self, n: usize) -> Range<usize> {
        n * self.rank / self.size..n * (self.rank + 1) / self.size
    }
}
