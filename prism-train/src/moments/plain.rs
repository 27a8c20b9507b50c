//! A one-shot federation without protection: every client's one message, and what the server makes of all.

use std::path::Path;

use prism_nn::Result;

use super::sums::{self, GroupSums};
use super::{ClientMoments, message};
use crate::groups::Groups;
use crate::privacy::Holders;
use crate::run::client_files::{self, MomentsKey, RAW};

/// What the moments of all clients' images are kept under.
pub fn key(holders: &Holders<'_>, groups: &Groups) -> MomentsKey {
    let all: Vec<usize> = holders.members.iter().flatten().copied().collect();
    MomentsKey {
        data: holders.data.digest().to_string(),
        members: groups.digest(&all),
        encoder: holders.encoder.digest().to_string(),
        conditional: holders.conditional,
        styles: groups.styles().count(),
        privacy: RAW.to_string(),
    }
}

/// The moments of all clients' images, from their messages or, where the run has them already, from the folder `shared`.
///
/// # Errors
/// If the computation fails, or the folder cannot be written or holds moments of other images.
pub fn gather(holders: &Holders<'_>, groups: &Groups, shared: &Path, say: &dyn Fn(String)) -> Result<ClientMoments> {
    let key = key(holders, groups);
    if let Some(moments) = client_files::load_moments(shared, &key, groups.count(), holders.device)? {
        return Ok(moments);
    }
    let shapes = holders.encoder.feature_shapes(holders.data.image_size())?;
    let widths: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let (mut total, mut bytes) = (GroupSums::new(), 0);
    for (client, members) in holders.members.iter().enumerate() {
        say(format!("client {client} measures its {} images", members.len()));
        let sums = sums::measure(holders.encoder, holders.data, members, groups, holders.device)?;
        let message = message::encode(&sums);
        bytes += message.len() as u64;
        sums::add(&mut total, message::decode(&message, groups.count(), &widths)?);
    }
    let moments = ClientMoments::from_sums(total, holders.device)?.with_sent(bytes);
    client_files::save_moments(shared, &key, &moments)?;
    Ok(moments)
}
