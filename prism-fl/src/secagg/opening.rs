//! What the server makes of the shares that clients give: the blinds that are left in the sum.
//!
//! ```text
//! sum over U_3 of y_u = sum of x_u + sum over u in U_3 of PRG(b_u) + sum over u in U_3, v in U_2 \ U_3 of +-PRG(s_uv)
//! ```
//!
//! b_u is open for each u whose input came, s_v^SK for each v whose input did not.

use std::collections::BTreeMap;

use curve25519_dalek::Scalar;
use rayon::prelude::*;

use super::client::share_tag;
use super::keys::{Advert, own_commitment, own_key, pair_key, pair_public, pair_secret};
use super::message::{Dealt, GIVEN_BYTES, refuse};
use super::ring::Blind;
use super::shamir;
use super::sum::SumId;

/// What the clients of a sum have said so far.
pub struct Opening<'a> {
    /// The sum.
    pub id: &'a SumId,
    /// U_1 with its keys.
    pub adverts: &'a [(u32, Advert)],
    /// U_2.
    pub dealers: &'a [u32],
    /// U_3.
    pub survivors: &'a [u32],
    /// t.
    pub threshold: usize,
}

/// Refuses a share that is not the one that its dealer dealt to this holder. `kind` is 1 for the own secret, 0 for the pair.
///
/// # Errors
/// [`prism_core::Error::Corrupt`] naming both.
pub fn check_share(
    id: &SumId,
    (dealer, holder): (u32, u32),
    (kind, dealt): (usize, &Dealt),
    given: &[u8; GIVEN_BYTES],
) -> prism_core::Result<()> {
    let share: [u8; 32] = std::array::from_fn(|i| given[i + 1]);
    let right = match given[0] {
        0 => share == [0; 32],
        1 => share_tag(id, (dealer, holder), kind, &share) == dealt.tags[kind],
        _ => false,
    };
    match right {
        true => Ok(()),
        false => {
            Err(refuse(format!("the share of client {dealer} that client {holder} gives is not the one dealt to it")))
        }
    }
}

impl Opening<'_> {
    /// What takes all blinds off the sum, from the clients' replies in the last exchange.
    ///
    /// # Errors
    /// A clause that says whose secret cannot be opened.
    pub fn blinds(&self, replies: &BTreeMap<u32, Vec<u8>>) -> Result<Vec<Blind>, String> {
        let mut weights: BTreeMap<Vec<u32>, Vec<Scalar>> = BTreeMap::new();
        let mut secrets = Vec::new();
        for (at, &dealer) in self.dealers.iter().enumerate() {
            let (holders, shares) = self.shares(at, dealer, replies)?;
            let weights = weights.entry(holders).or_insert_with_key(|holders| shamir::weights(holders));
            secrets.push((dealer, shamir::combine(weights, shares.iter())));
        }
        let blinds: Result<Vec<Vec<Blind>>, String> =
            secrets.par_iter().map(|(dealer, secret)| self.blinds_of(*dealer, secret)).collect();
        Ok(blinds?.concat())
    }

    /// The first t shares of the dealer at this place, and who gave them.
    fn shares(
        &self,
        at: usize,
        dealer: u32,
        replies: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<(Vec<u32>, Vec<Scalar>), String> {
        let given = |(holder, body): (&u32, &Vec<u8>)| {
            let given = body.as_chunks::<GIVEN_BYTES>().0.get(at).filter(|given| given[0] == 1)?;
            let share: Option<Scalar> = Scalar::from_canonical_bytes(std::array::from_fn(|i| given[i + 1])).into();
            share.map(|share| (*holder, share))
        };
        let found: (Vec<u32>, Vec<Scalar>) = replies.iter().filter_map(given).take(self.threshold).unzip();
        match found.0.len() == self.threshold {
            true => Ok(found),
            false => Err(format!("client {dealer} dealt good shares to {} of those that answered", found.0.len())),
        }
    }

    /// The blinds that `secret` of `dealer` is behind, checked against what the dealer has advertised.
    fn blinds_of(&self, dealer: u32, secret: &Scalar) -> Result<Vec<Blind>, String> {
        let unfit = || format!("client {dealer} dealt shares that do not fit together");
        let (id, survived) = (self.id, self.survivors.binary_search(&dealer).is_ok());
        let advert = self.advert(dealer).ok_or_else(unfit)?;
        if survived {
            let known = own_commitment(secret, id, dealer) == advert.commitment;
            let blind = Blind { key: own_key(secret, id, dealer), added: false };
            return if known { Ok(vec![blind]) } else { Err(unfit()) };
        }
        if pair_public(secret, id) != advert.pair {
            return Err(unfit());
        }
        let private = pair_secret(secret, id);
        let blind = |&client: &u32| -> Result<Blind, String> {
            let peer = self.advert(client).ok_or_else(unfit)?;
            let key = pair_key(&private, &peer.pair, id, (dealer, client)).map_err(|e| e.to_string())?;
            // The survivor added it if its number is the smaller one.
            Ok(Blind { key, added: client > dealer })
        };
        self.survivors.iter().map(blind).collect()
    }

    fn advert(&self, client: u32) -> Option<&Advert> {
        let at = self.adverts.binary_search_by_key(&client, |(client, _)| *client).ok()?;
        Some(&self.adverts[at].1)
    }
}
