//! What stays in memory from round to round, although the clients' files hold it: reading it back is a good part of a short
//! round's work beside its steps.
//!
//! Up to a limit, so that memory does not grow with the number of clients. A state is used again only for the round that it is
//! of: an answer that never counted leaves its client at an older one, which is then read from its file.

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
    loaded: HashMap<u32, (u32, Loaded)>,
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
        let mut clients = self.clients();
        let (found, loaded) = clients.loaded.remove(&client)?;
        clients.bytes -= loaded.bytes();
        (found == round).then_some(loaded)
    }

    /// Keeps the state of `client` after `round`, if there is room.
    pub fn put(&self, client: u32, round: u32, loaded: Loaded) {
        let mut clients = self.clients();
        let bytes = clients.bytes + loaded.bytes();
        if bytes <= self.limit {
            clients.bytes = bytes;
            clients.loaded.insert(client, (round, loaded));
        }
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
        let kept = |clients: &Clients| (clients.bytes, clients.loaded.len());
        assert_eq!(kept(&resident.clients()), (2 * bytes, 2));
        assert!(resident.take(0, 1).is_some());
        resident.put(4, 1, loaded());
        assert!(resident.take(4, 1).is_some());
    }
}
