//! Who the clients of a federation are: a list of public keys, one a client, gathered before the first sum.
//!
//! ```text
//! # number  Ed25519 public key, 64 hexadecimal digits
//! 0         8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f
//! ```
//!
//! A client takes whoever signs with a key of its own list for that client. So the list is what must be trusted: whoever can
//! write into it can pretend to be others. It must come on a way that the server does not control.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use prism_core::{Error, Result, file};

/// Most bytes of a list.
const MAX_BYTES: u64 = 1 << 23;

/// An Ed25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = from_hex(text).ok_or_else(|| {
            Error::usage(format!("'{text}' is no public key; one has 64 hexadecimal digits, as identity.pub has it"))
        })?;
        Ok(PublicKey(bytes))
    }
}

/// The public key of every client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(BTreeMap<u32, PublicKey>);

impl Peers {
    /// Those of clients 0, 1 and so on.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Peers((0..).zip(keys).collect())
    }

    /// The key of `client`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has none.
    pub fn key(&self, client: u32) -> Result<&PublicKey> {
        self.0.get(&client).ok_or_else(|| {
            Error::usage(format!("the list of peers has no key of client {client}; add its identity.pub to the list"))
        })
    }

    /// The list in `folder`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is none, or it is not written as this module says.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = path(folder);
        if !path.exists() {
            return Err(Error::usage(format!(
                "a secure sum needs the public keys of all clients, and there is no {}; write one line a client into it: \
                 number and key",
                path.display()
            )));
        }
        let bytes = file::read_bounded(&path, MAX_BYTES)?;
        let list: Peers = String::from_utf8_lossy(&bytes).parse()?;
        Ok(list)
    }

    /// Writes the list into `folder`, which keeps the one that it has.
    ///
    /// # Errors
    /// [`Error::Usage`] if `folder` has another one, [`Error::Io`] if it cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let path = path(folder);
        if !path.exists() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, e))?;
            return file::write_atomic(&path, |out| out.write_all(self.to_string().as_bytes()));
        }
        match Self::load(folder)? == *self {
            true => Ok(()),
            false => Err(Error::usage(format!(
                "{} lists other keys than those that are given; keys do not change while a federation goes on",
                path.display()
            ))),
        }
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("peers")
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(client, key)| writeln!(f, "{client} {key}"))
    }
}

impl FromStr for Peers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut list, mut keys) = (BTreeMap::new(), BTreeSet::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let refuse = |why: &str| Error::usage(format!("the list of peers has the line '{line}': {why}"));
            let [number, key] = fields[..] else { return Err(refuse("a line is a client's number and its key")) };
            let number = number.parse::<u32>().map_err(|_| refuse("its number is none"))?;
            let key: PublicKey = key.parse()?;
            if !keys.insert(key) || list.insert(number, key).is_some() {
                return Err(refuse("this number or key stands on a line before it"));
            }
        }
        Ok(Peers(list))
    }
}

/// Bytes as hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of as many hexadecimal digits, or none.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_is_written_and_kept_once() {
        let peers = Peers::new([[7; 32], [8; 32]].map(PublicKey));
        assert_eq!(format!("# two\n\n{peers}").parse::<Peers>().unwrap(), peers);
        let folder = tempfile::tempdir().unwrap();
        assert!(Peers::load(folder.path()).unwrap_err().to_string().contains("there is no"));
        peers.keep(folder.path()).unwrap();
        peers.keep(folder.path()).unwrap();
        assert_eq!(Peers::load(folder.path()).unwrap(), peers);
        let other = Peers::new([PublicKey([9; 32])]).keep(folder.path()).unwrap_err();
        assert!(other.to_string().contains("other keys"), "{other}");
        assert!(peers.key(2).unwrap_err().to_string().contains("client 2"));
    }

    #[test]
    fn a_line_that_is_none_is_refused_by_name() {
        let key = PublicKey([7; 32]);
        for text in [format!("0 {key} x"), format!("x {key}"), "0 ab".into(), format!("0 {key}\n1 {key}"), "0".into()] {
            let error = text.parse::<Peers>().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
        }
    }
}
