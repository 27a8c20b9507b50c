//! Fields of a payload, read with every length checked.

use super::header::refuse;
use prism_core::arch::Layer;
use prism_core::error::Result;

pub(super) fn put_scores(payload: &mut Vec<u8>, layer: &Layer, scores: &[f32]) {
    assert_eq!(scores.len(), layer.weights(), "one score per weight of layer {}", layer.name);
    scores.iter().for_each(|score| payload.extend_from_slice(&score.to_le_bytes()));
}

pub(super) fn take_scores(payload: &mut &[u8], layer: &Layer) -> Result<Vec<f32>> {
    let (bytes, _) = take(payload, 4 * layer.weights())?.as_chunks::<4>();
    let scores: Vec<f32> = bytes.iter().map(|score| f32::from_le_bytes(*score)).collect();
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(scores),
        Some(at) => Err(refuse(format!(
            "score {at} of layer {} is {}; scores must be finite: the sender's training \
             diverged, so lower its learning rate",
            layer.name, scores[at]
        ))),
    }
}

/// Appends `bytes` behind their length.
pub(super) fn put_block(payload: &mut Vec<u8>, bytes: &[u8]) {
    payload.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    payload.extend_from_slice(bytes);
}

/// The bytes behind a length.
pub(super) fn take_block<'a>(payload: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = take_u32(payload)?;
    take(payload, length as usize)
}

pub(super) fn take_u32(payload: &mut &[u8]) -> Result<u32> {
    take_array(payload).map(u32::from_le_bytes)
}

pub(super) fn take_array<const N: usize>(payload: &mut &[u8]) -> Result<[u8; N]> {
    let (first, rest) = payload.split_first_chunk::<N>().ok_or_else(ends)?;
    *payload = rest;
    Ok(*first)
}

pub(super) fn take<'a>(payload: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, rest) = payload.split_at_checked(length).ok_or_else(ends)?;
    *payload = rest;
    Ok(taken)
}

/// Refuses bytes that nothing accounts for.
pub(super) fn end(payload: &[u8]) -> Result<()> {
    match payload.len() {
        0 => Ok(()),
        n => Err(refuse(format!("{n} bytes follow the end of its payload"))),
    }
}

fn ends() -> prism_core::Error {
    refuse("its payload ends before its last field")
}
