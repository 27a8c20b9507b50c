//! What crosses the wire in rounds: updates, broadcasts and the records of a snapshot, by every codec.

use prism_core::Architecture;
use prism_core::stream::{Purpose, StreamId};
use prism_fl::codec::{Learned, Prior, PrivateSource, Uplink};
use prism_fl::secagg::Blinds;
use prism_fl::wire::{Broadcast, Codec, Content, Downlink, HEADER_BYTES, Header, Record, Session, Update, record};

use super::Target;

const ROUND: u32 = 3;
/// Bits of a blinded number, and the attempt at the sum.
const SUM: (u32, u32) = (2, 1);

/// Those of every codec, with and without layers of scores.
pub fn targets() -> Vec<Target> {
    let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
    let mut targets = Vec::new();
    for uplink in ["raw", "mrc", "flips", "sums"] {
        for downlink in ["f32", "counts", "relay"] {
            for score_layers in [0, 1] {
                let session = Session::new(&arch, 1, score_layers).expect("a valid session");
                let session = session.with_codecs(uplink.parse().expect("a codec"), downlink.parse().expect("a codec"));
                // A sum hides masks alone, not scores.
                let possible = (uplink, score_layers) != ("sums", 1);
                if possible && (downlink == "f32" || uplink == "mrc") {
                    targets.extend(targets_of(&session));
                }
            }
        }
    }
    targets
}

fn targets_of(session: &Session) -> Vec<Target> {
    let mut stream = StreamId::new(5, Purpose::Test).open();
    let mut scores = || -> Vec<Vec<f32>> {
        session.layers().iter().map(|layer| (0..layer.weights()).map(|_| stream.normal() as f32).collect()).collect()
    };
    let (known, learned) = (scores(), scores());
    let prior = session.prior(&known);
    let name = |what: &str| format!("{what} {}/{}/{}", session.uplink(), session.downlink(), session.score_layers());
    let update = |client: u32| {
        let private = PrivateSource::simulated(StreamId::new(6, Purpose::Test).client(client.into()));
        let blinds = Blinds { width: SUM.0, attempt: SUM.1, list: Vec::new() };
        let layers: Vec<&[f32]> = learned.iter().map(Vec::as_slice).collect();
        let learned = Learned { layers: &layers, prior: &prior, private: &private, blinds: &blinds, threads: 1 };
        Update::encode(session, ROUND, client, &learned)[HEADER_BYTES..].to_vec()
    };
    let updates: Vec<(u32, Vec<u8>)> = (0..3).map(|client| (client, update(client))).collect();
    let mut targets = Vec::new();
    if session.downlink() == Downlink::Scores {
        targets.push(update_target(name("update"), session, &prior, &updates));
    }
    if session.uplink() == Uplink::Mrc {
        targets.push(broadcast_target(name("broadcast"), session, &known));
    }
    if session.downlink() != Downlink::Scores {
        targets.push(record_target(name("record"), session, &prior, &known, &updates));
    }
    targets
}

fn update_target(name: String, session: &Session, prior: &Prior, updates: &[(u32, Vec<u8>)]) -> Target {
    let (session, prior) = (session.clone(), prior.clone());
    let truths = updates.iter().map(|(_, payload)| payload.clone()).collect();
    let decode = move |payload: &[u8]| {
        let message = Header::update(&session, ROUND, 0).seal(payload);
        if session.uplink() == Uplink::Sums {
            return Update::decode_sums(&message, &session, SUM, ROUND, 0).is_ok();
        }
        match Update::decode(&message, &session, &prior, ROUND, 0) {
            Ok(update) => {
                assert_eq!(update.mask.len(), session.mask_weights());
                assert_eq!(update.scores.len(), session.score_layers());
                true
            }
            Err(_) => false,
        }
    };
    Target::new(name, truths, decode)
}

fn broadcast_target(name: String, session: &Session, known: &[Vec<f32>]) -> Target {
    let messages = match session.downlink().grid() {
        None => vec![Content::Scores(known.to_vec())],
        Some(grid) => {
            let indices = known.iter().flatten().map(|&s| grid.index(s)).collect();
            let records = vec![vec![1; 9], Vec::new()];
            vec![Content::Snapshot { indices, digest: [1; 8] }, Content::Replay { records, digest: [2; 8] }]
        }
    };
    let truths = messages
        .into_iter()
        .map(|content| {
            let broadcast = Broadcast { last: 1, cohort: vec![0, 2], content };
            broadcast.encode(session, ROUND)[HEADER_BYTES..].to_vec()
        })
        .collect();
    let session = session.clone();
    let decode = move |payload: &[u8]| {
        let mut taken = false;
        for codec in [Codec::Raw, Codec::Replay, Codec::Snapshot] {
            let message = Header::broadcast(&session, codec, ROUND).seal(payload);
            taken |= Broadcast::decode(&message, &session).is_ok();
        }
        taken
    };
    Target::new(name, truths, decode)
}

fn record_target(
    name: String,
    session: &Session,
    prior: &Prior,
    known: &[Vec<f32>],
    updates: &[(u32, Vec<u8>)],
) -> Target {
    let votes: Vec<u32> = (0..session.mask_weights() as u32).map(|i| i % 4).collect();
    let truth = match session.downlink() {
        Downlink::Relay => record::relay(updates),
        _ => record::counts(session, prior, 3, &votes, session.score_layers_of(known)),
    };
    let (session, prior) = (session.clone(), prior.clone());
    let decode = move |payload: &[u8]| match Record::decode(payload, &session, &prior) {
        Ok(Record::Counts { answers, votes, .. }) => {
            assert!(votes.len() == session.mask_weights() && votes.iter().all(|&v| v <= answers));
            true
        }
        Ok(Record::Relay(updates)) => updates
            .iter()
            .all(|(client, payload)| Update::from_payload(payload, &session, &prior, ROUND, *client).is_ok()),
        Ok(_) => true,
        Err(_) => false,
    };
    Target::new(name, vec![truth], decode)
}
