//! The moments of all clients' images, from their messages.
//!
//! All messages are decoded a layer at a time, so that beside the moments themselves no more than a layer of a few clients
//! stands in memory. Floats are added in the order of the clients.

use std::collections::BTreeMap;

use candle_core::Device;
use prism_nn::{Result, SecondMoment};
use rayon::prelude::*;

use super::message::Message;
use super::statistics::Statistics;
use super::{ClientMoments, MIN_IMAGES, stack, too_few, unit};

/// Clients whose layers are decoded side by side.
const TOGETHER: usize = 2;

/// The moments of the images that all `messages` together are of, which come in the order of the clients.
///
/// # Errors
/// If a message cannot be decoded, no group has two images, or the device has no room.
pub fn combine(messages: &[Message<'_>], layers: usize, device: &Device) -> Result<ClientMoments> {
    let mut images = BTreeMap::<u32, usize>::new();
    for &(group, count) in messages.iter().flat_map(Message::groups) {
        *images.entry(group).or_default() += count as usize;
    }
    let groups: Vec<u32> = images.iter().filter(|(_, count)| **count >= MIN_IMAGES).map(|(group, _)| *group).collect();
    if groups.is_empty() {
        return Err(too_few(images.values().sum()));
    }
    let one = |layer: usize| {
        let mut all = layer_of_all(messages, layer)?;
        all.values_mut().for_each(Statistics::clip_variance);
        let whole = unit::whole(all.values());
        let own = groups.iter().filter_map(|group| all.remove(group)).collect();
        stack(own, whole, device)
    };
    let layers = (0..layers).map(one).collect::<Result<_>>()?;
    Ok(ClientMoments::from_parts(groups, layers, SecondMoment::Variance, None))
}

/// One layer's statistics of every group over all clients' images.
fn layer_of_all(messages: &[Message<'_>], layer: usize) -> Result<BTreeMap<u32, Statistics>> {
    let mut all = BTreeMap::<u32, Statistics>::new();
    for messages in messages.chunks(TOGETHER) {
        let decoded = messages.par_iter().map(|message| message.layer(layer)).collect::<Result<Vec<_>>>()?;
        for (message, own) in messages.iter().zip(decoded) {
            for (&(group, _), own) in message.groups().iter().zip(own) {
                all.entry(group).or_default().merge(&own);
            }
        }
    }
    Ok(all)
}
