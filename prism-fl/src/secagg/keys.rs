//! A client's keys: the long-lived one that it signs with, its peers' public ones, and those of a single sum.
//!
//! | paper         | here                                                                                    |
//! |---------------|-----------------------------------------------------------------------------------------|
//! | d_u^SK        | [`Identity`]: Ed25519, made at first opening, kept in the client's folder                |
//! | d_u^PK        | [`super::Peers`]: one for each client, in a list that the client's operator gathered            |
//! | c_u^SK        | [`Secrets::channel`]: X25519, for the channels through which shares go                   |
//! | s_u^SK        | X25519, derived from [`Secrets::pair`], which is shared                                  |
//! | b_u           | derived from [`Secrets::own`], which is shared                                           |
//! | KA.agree, KDF | X25519, then HKDF-SHA256 with the sum's name in its info                                 |
//!
//! All secrets come from the operating system and serve one attempt at one sum. What is revealed of one sum is worth nothing
//! for another.

use curve25519_dalek::Scalar;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use prism_core::{Error, Result};
use sha2::Sha256;
use x25519_dalek::{PublicKey as ExchangeKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::peers::PublicKey;
use super::ring::Blind;
use super::shamir;
use super::sum::{SumId, hash};

/// Bytes of an [`Advert`].
pub const ADVERT_BYTES: usize = 160;

/// A key that a client signs with as long as it lives.
pub struct Identity(SigningKey);

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        shamir::fill(&mut *secret)?;
        Ok(Self::from_bytes(&secret))
    }

    /// The one of these secret bytes.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Identity(SigningKey::from_bytes(secret))
    }

    /// Its secret bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// What others know it by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `text`.
    pub fn sign(&self, text: &[u8; 32]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }
}

impl PublicKey {
    /// Whether `signature` is this key's under `text`.
    pub fn verifies(&self, text: &[u8; 32], signature: &[u8; 64]) -> bool {
        let key = VerifyingKey::from_bytes(&self.0);
        key.is_ok_and(|key| key.verify_strict(text, &Signature::from_bytes(signature)).is_ok())
    }
}

/// What a client keeps to itself in one sum.
pub struct Secrets {
    /// Opens the shares that others deal to it.
    pub channel: [u8; 32],
    /// The key that it agrees on blinds with follows from this.
    pub pair: Scalar,
    /// Its own blind follows from this.
    pub own: Scalar,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.channel.zeroize();
        self.pair.zeroize();
        self.own.zeroize();
    }
}

/// The public keys of a client in one sum, signed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// c_u^PK.
    pub channel: [u8; 32],
    /// s_u^PK.
    pub pair: [u8; 32],
    /// A hash by which a reconstructed own secret is known to be right.
    pub commitment: [u8; 32],
    /// Under [`Advert::text`].
    pub signature: [u8; 64],
}

impl Advert {
    /// Its bytes.
    pub fn bytes(&self) -> [u8; ADVERT_BYTES] {
        let mut bytes = [0; ADVERT_BYTES];
        bytes[..32].copy_from_slice(&self.channel);
        bytes[32..64].copy_from_slice(&self.pair);
        bytes[64..96].copy_from_slice(&self.commitment);
        bytes[96..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads them.
    pub fn from_bytes(bytes: &[u8; ADVERT_BYTES]) -> Self {
        let part = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        Advert {
            channel: part(0),
            pair: part(32),
            commitment: part(64),
            signature: std::array::from_fn(|i| bytes[96 + i]),
        }
    }

    /// What `client` signs.
    pub fn text(&self, id: &SumId, client: u32) -> [u8; 32] {
        hash("keys", &[&id.bytes(), &client.to_le_bytes(), &self.channel, &self.pair, &self.commitment])
    }
}

impl Secrets {
    /// New ones.
    ///
    /// # Errors
    /// If the operating system has no randomness.
    pub fn generate() -> Result<Self> {
        let mut channel = [0; 32];
        shamir::fill(&mut channel)?;
        Ok(Secrets { channel, pair: shamir::random()?, own: shamir::random()? })
    }

    /// The public keys of these secrets, signed by `identity` as those of `client` in the sum `id`.
    pub fn advert(&self, id: &SumId, client: u32, identity: &Identity) -> Advert {
        let channel = public_of(&self.channel);
        let (pair, commitment) = (pair_public(&self.pair, id), own_commitment(&self.own, id, client));
        let mut advert = Advert { channel, pair, commitment, signature: [0; 64] };
        advert.signature = identity.sign(&advert.text(id, client));
        advert
    }

    /// The key of the channel to the client whose key is `peer`, in the direction `from` one client `to` the other.
    ///
    /// # Errors
    /// If that key is none.
    pub fn channel_key(&self, peer: &[u8; 32], id: &SumId, from: u32, to: u32) -> Result<Zeroizing<[u8; 32]>> {
        let shared = agree(&self.channel, peer)?;
        Ok(derive(&shared, "share", &[&id.bytes(), &from.to_le_bytes(), &to.to_le_bytes()]))
    }

    /// The blinds of `client` in the sum with `peers`, whose public pair keys these are.
    ///
    /// # Errors
    /// If one of the keys is none.
    pub fn blinds<'a>(
        &self,
        id: &SumId,
        client: u32,
        peers: impl Iterator<Item = (u32, &'a [u8; 32])>,
    ) -> Result<Vec<Blind>> {
        let secret = pair_secret(&self.pair, id);
        let mut blinds = vec![Blind { key: own_key(&self.own, id, client), added: true }];
        for (peer, public) in peers {
            blinds.push(Blind { key: pair_key(&secret, public, id, (client, peer))?, added: client < peer });
        }
        Ok(blinds)
    }
}

/// s_u^SK, from the secret that u shares.
pub fn pair_secret(pair: &Scalar, id: &SumId) -> Zeroizing<[u8; 32]> {
    derive(pair.as_bytes(), "pair secret", &[&id.bytes()])
}

/// s_u^PK.
pub fn pair_public(pair: &Scalar, id: &SumId) -> [u8; 32] {
    public_of(&pair_secret(pair, id))
}

/// s_uv: the keystream's key that two clients agree on.
///
/// # Errors
/// If `public` is no key.
pub fn pair_key(secret: &[u8; 32], public: &[u8; 32], id: &SumId, (a, b): (u32, u32)) -> Result<Zeroizing<[u8; 32]>> {
    let shared = agree(secret, public)?;
    Ok(derive(&shared, "pair", &[&id.bytes(), &a.min(b).to_le_bytes(), &a.max(b).to_le_bytes()]))
}

/// b_u: the key of a client's own keystream.
pub fn own_key(own: &Scalar, id: &SumId, client: u32) -> Zeroizing<[u8; 32]> {
    derive(own.as_bytes(), "own", &[&id.bytes(), &client.to_le_bytes()])
}

/// The hash by which it is known.
pub fn own_commitment(own: &Scalar, id: &SumId, client: u32) -> [u8; 32] {
    hash("own", &[&id.bytes(), &client.to_le_bytes(), own.as_bytes()])
}

fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    ExchangeKey::from(&StaticSecret::from(*secret)).to_bytes()
}

fn agree(secret: &[u8; 32], public: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>> {
    let shared = StaticSecret::from(*secret).diffie_hellman(&ExchangeKey::from(*public));
    match shared.was_contributory() {
        true => Ok(Zeroizing::new(shared.to_bytes())),
        false => Err(Error::corrupt("a key of a secure sum", "its point has a small order, so it hides nothing")),
    }
}

fn derive(secret: &[u8; 32], name: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let mut info: Vec<&[u8]> = vec![name.as_bytes(), &[0]];
    info.extend_from_slice(parts);
    let kdf = Hkdf::<Sha256>::new(Some(&b"prism-secagg-v1"[..]), secret);
    // HKDF fails above 255 blocks of output; this is one.
    let expanded = kdf.expand_multi_info(&info, &mut *key);
    debug_assert!(expanded.is_ok());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secagg::sum::Purpose;

    fn id(attempt: u32) -> SumId {
        SumId { federation: [1; 32], purpose: Purpose::Round, round: 2, attempt }
    }

    #[test]
    fn two_clients_agree_and_no_two_sums_have_a_key_in_common() {
        let (a, b) = (Secrets::generate().unwrap(), Secrets::generate().unwrap());
        let key = |own: &Secrets, other: &Secrets, attempt, clients| {
            pair_key(
                &pair_secret(&own.pair, &id(attempt)),
                &pair_public(&other.pair, &id(attempt)),
                &id(attempt),
                clients,
            )
            .unwrap()
        };
        assert_eq!(key(&a, &b, 1, (0, 1)), key(&b, &a, 1, (1, 0)));
        assert_ne!(key(&a, &b, 1, (0, 1)), key(&a, &b, 2, (0, 1)));
        assert_ne!(key(&a, &b, 1, (0, 1)), key(&a, &b, 1, (0, 2)));
        let identity = Identity::generate().unwrap();
        let (of_a, of_b) = (a.advert(&id(1), 0, &identity), b.advert(&id(1), 1, &identity));
        let there = a.channel_key(&of_b.channel, &id(1), 0, 1).unwrap();
        assert_eq!(there, b.channel_key(&of_a.channel, &id(1), 0, 1).unwrap());
        assert_ne!(there, b.channel_key(&of_a.channel, &id(1), 1, 0).unwrap());
        assert!(a.channel_key(&[0; 32], &id(1), 0, 1).is_err(), "a point of small order");
    }

    #[test]
    fn an_advert_holds_for_its_client_and_sum_alone() {
        let (identity, secrets) = (Identity::generate().unwrap(), Secrets::generate().unwrap());
        let advert = secrets.advert(&id(1), 3, &identity);
        assert_eq!(Advert::from_bytes(&advert.bytes()), advert);
        let verifies = |id: &SumId, client| identity.public().verifies(&advert.text(id, client), &advert.signature);
        assert!(verifies(&id(1), 3) && !verifies(&id(2), 3) && !verifies(&id(1), 2));
        let other = Identity::from_bytes(&Identity::generate().unwrap().to_bytes());
        assert!(!other.public().verifies(&advert.text(&id(1), 3), &advert.signature));
    }
}
