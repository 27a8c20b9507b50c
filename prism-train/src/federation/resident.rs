//! What stays in memory from round to round: writing and reading it is a good part of a short round's work beside its steps.
//!
//! Up to a limit, so that memory does not grow with the number of clients. A state is used again only for the round that it is
//! of: an answer that never counted leaves its client at an older one, which is then read from its file. A state that is not yet
//! on disk is marked, and given out to be written before a checkpoint names it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;

use super::OptimiserState;
use super::received::Known;
use crate::moments::ClientMoments;

/// What a client trains with.
pub struct Loaded {
    /// The moments to match, as they count in training.
    pub moments: ClientMoments,
    /// The optimiser's state.
    pub state: OptimiserState,
}

impl Loaded {
    /// Moments that all clients share count for each of them.
    fn bytes(&self) -> u64 {
        let size = |tensor: Tensor| (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
        self.moments.tensors().chain(self.state.tensors()).map(size).sum()
    }
}

/// Clients' states, and what all clients of the last round knew.
pub struct Resident {
    limit: u64,
    clients: Mutex<Clients>,
    known: Option<Known>,
}

#[derive(Default)]
struct Clients {
    bytes: u64,
    kept: HashMap<u32, Kept>,
}

/// A client's state, and where else it is.
struct Kept {
    round: u32,
    on_disk: bool,
    loaded: Loaded,
}

impl Clients {
    /// Keeps a state if there is room within `limit`, and gives it back if there is none.
    fn insert(&mut self, client: u32, kept: Kept, limit: u64) -> Option<Kept> {
        let bytes = self.bytes + kept.loaded.bytes();
        if bytes > limit {
            return Some(kept);
        }
        self.bytes = bytes;
        self.kept.insert(client, kept);
        None
    }

    fn remove(&mut self, client: u32) -> Option<Kept> {
        let kept = self.kept.remove(&client)?;
        self.bytes -= kept.loaded.bytes();
        Some(kept)
    }
}

impl Resident {
    /// Room for `limit` bytes of clients' states.
    pub fn new(limit: u64) -> Self {
        Resident { limit, clients: Mutex::default(), known: None }
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        // Whole entries go in and out, so a panic elsewhere cannot have left one half written.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out the state of `client`, if it is that after `round`.
    pub fn take(&self, client: u32, round: u32) -> Option<Loaded> {
        let kept = self.clients().remove(client)?;
        (kept.round == round).then_some(kept.loaded)
    }

    /// Keeps the state of `client` after `round`, which is on disk as well, if there is room.
    pub fn put(&self, client: u32, round: u32, loaded: Loaded) {
        self.clients().insert(client, Kept { round, on_disk: true, loaded }, self.limit);
    }

    /// Keeps the state of `client` after `round`, which is nowhere else; gives it back if there is no room.
    pub fn put_unsaved(&self, client: u32, round: u32, loaded: Loaded) -> Option<Loaded> {
        let refused = self.clients().insert(client, Kept { round, on_disk: false, loaded }, self.limit);
        refused.map(|kept| kept.loaded)
    }

    /// Takes out every state that is not on disk, with its client and its round, in the order of the clients.
    pub fn take_unsaved(&self) -> Vec<(u32, u32, Loaded)> {
        let mut clients = self.clients();
        let unsaved = clients.kept.iter().filter(|(_, kept)| !kept.on_disk).map(|(&client, _)| client);
        let mut unsaved: Vec<u32> = unsaved.collect();
        unsaved.sort_unstable();
        let taken = unsaved.into_iter().filter_map(|client| Some((client, clients.remove(client)?)));
        taken.map(|(client, kept)| (client, kept.round, kept.loaded)).collect()
    }

    /// What clients know that hold the state after round `base`, if those of the last round knew it.
    pub fn known(&self, base: u32) -> Option<&Known> {
        self.known.as_ref().filter(|known| known.global.round() == base)
    }

    /// Remembers what the clients of a round know.
    pub fn remember(&mut self, known: Known) {
        self.known = Some(known);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use prism_core::Architecture;
    use prism_nn::SecondMoment;

    use super::*;

    fn loaded() -> Loaded {
        let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
        let state = OptimiserState::new(&arch, &Device::Cpu).unwrap();
        Loaded { moments: ClientMoments::from_parts(vec![0], vec![], SecondMoment::Variance, None), state }
    }

    #[test]
    fn a_state_comes_back_once_and_for_its_own_round() {
        let resident = Resident::new(u64::MAX);
        resident.put(3, 7, loaded());
        assert!(resident.take(2, 7).is_none());
        assert!(resident.take(3, 7).is_some());
        assert!(resident.take(3, 7).is_none());
        resident.put(3, 7, loaded());
        assert!(resident.take(3, 6).is_none(), "the answer of round 7 did not count");
        assert_eq!(resident.clients().bytes, 0);
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let bytes = loaded().bytes();
        assert!(bytes > 0);
        let resident = Resident::new(2 * bytes);
        (0..5).for_each(|client| resident.put(client, 1, loaded()));
        let kept = |clients: &Clients| (clients.bytes, clients.kept.len());
        assert_eq!(kept(&resident.clients()), (2 * bytes, 2));
        assert!(resident.take(0, 1).is_some());
        resident.put(4, 1, loaded());
        assert!(resident.take(4, 1).is_some());
    }

    #[test]
    fn what_is_not_on_disk_is_given_out_once_to_be_written() {
        let bytes = loaded().bytes();
        let resident = Resident::new(3 * bytes);
        let unsaved = |resident: &Resident| {
            let taken = resident.take_unsaved();
            taken.into_iter().map(|(client, round, _)| (client, round)).collect::<Vec<_>>()
        };
        assert!(resident.put_unsaved(5, 2, loaded()).is_none());
        assert!(resident.put_unsaved(1, 1, loaded()).is_none());
        resident.put(3, 2, loaded());
        assert!(
            resident.put_unsaved(4, 2, loaded()).is_some(),
            "there is no room, so it comes back to be written at once"
        );
        // Client 1 trains again before its first state was written, which is then of no use.
        assert!(resident.take(1, 1).is_some());
        assert!(resident.put_unsaved(1, 2, loaded()).is_none());
        assert_eq!(unsaved(&resident), [(1, 2), (5, 2)]);
        assert_eq!(resident.clients().bytes, bytes, "the state that was on disk stays");
        resident.put(1, 2, loaded());
        assert_eq!(unsaved(&resident), []);
        assert!(resident.take(1, 2).is_some(), "it stays in memory once it is written");
    }
}
