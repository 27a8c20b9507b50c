//! A client's side of the downlink: from the state that it has and the server's message to the state that the server has.

use prism_core::{Error, Result};

use crate::aggregation::Aggregate;
use crate::global_state::GlobalState;
use crate::mask_sum::MaskSum;
use crate::server::server_step;
use crate::wire::{Broadcast, Content, Record, Update};

/// Moves `state`, which the client knew in round `broadcast.last`, to the one that opens `round`, in each of which `asked` clients
/// were asked at most.
///
/// # Errors
/// [`Error::Corrupt`] if the message does not go on from this state, or does not lead to the state that the server has.
pub fn receive(state: &mut GlobalState, broadcast: Broadcast, round: u32, asked: u32) -> Result<()> {
    let (base, before) = (broadcast.base(), round.saturating_sub(1));
    let digest = match broadcast.content {
        Content::Scores(scores) => {
            state.advance(before, |old| *old = scores);
            return Ok(());
        }
        Content::Replay { records, digest } => {
            if base != state.round() {
                return Err(refuse(format!(
                    "it goes on from the state after round {base} and this client has that after round {}",
                    state.round()
                )));
            }
            records.iter().try_for_each(|record| replay(state, record, asked))?;
            digest
        }
        Content::Snapshot { indices, digest } => {
            let Some(grid) = state.session().downlink().grid() else {
                return Err(refuse("this session has no snapshots".into()));
            };
            let set = |scores: &mut Vec<Vec<f32>>| {
                scores.iter_mut().flatten().zip(&indices).for_each(|(score, &index)| *score = grid.score(index));
            };
            state.advance(before, set);
            digest
        }
    };
    state.prepare();
    if digest != state.digest() {
        return Err(refuse(
            "it leads this client to another state than the server's: give both sides the same settings".into(),
        ));
    }
    Ok(())
}

/// Makes the server's step of one round again, from its record.
fn replay(state: &mut GlobalState, record: &[u8], asked: u32) -> Result<()> {
    let (session, prior, round) = (state.session().clone(), state.prior(), state.round() + 1);
    let mut aggregate = Aggregate::new(&session);
    match Record::decode(record, &session, &prior)? {
        Record::Silent => {}
        Record::Counts { answers, votes, scores } => {
            aggregate = Aggregate::from_sums(answers, MaskSum::Votes(votes), &scores);
        }
        Record::Differences { answers, differences, scores } => {
            aggregate = Aggregate::from_sums(answers, MaskSum::Differences(differences), &scores);
        }
        // A mask takes as long to draw however short its update is, so that a small message could be the work of days.
        Record::Relay(updates) if updates.len() > asked as usize => {
            return Err(refuse(format!(
                "it relays the updates of {} clients in round {round} and the settings ask {asked}: give both sides the same \
                 settings",
                updates.len()
            )));
        }
        // One mask at a time: together they could take far more memory than the record.
        Record::Relay(updates) => {
            for (client, payload) in updates {
                aggregate.add(&Update::from_payload(payload, &session, &prior, round, client)?);
            }
        }
    }
    server_step(state, &aggregate);
    Ok(())
}

fn refuse(why: String) -> Error {
    Error::corrupt("a broadcast", why)
}
