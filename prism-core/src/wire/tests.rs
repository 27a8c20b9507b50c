use proptest::prelude::*;

use super::*;
use crate::codec::counts::MOST_ANSWERS;
use crate::codec::{Blinds, PrivateSource, ScoreGrid, steps};
use crate::mask::LayerBits;
use crate::stream::{Purpose, StreamId};

const SEED: u64 = 5;
const UPLINKS: [Uplink; 4] = [Uplink::Raw, Uplink::Entropy, Uplink::Mrc, Uplink::Flips];

fn arch() -> Architecture {
    Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 2, label_scale: 3.0 }
}

fn session(score_layers: usize, uplink: Uplink, downlink: Downlink) -> Session {
    Session::new(&arch(), SEED, score_layers).unwrap().with_codecs(uplink, downlink)
}

fn scores(session: &Session, seed: u64) -> Vec<Vec<f32>> {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let layer = |layer: &Layer| (0..layer.weights()).map(|_| stream.normal() as f32).collect();
    session.layers().iter().map(layer).collect()
}

/// An update of client 2 in `round`, whose scores lie near those of `prior`'s.
fn update(session: &Session, round: u32, client: u32) -> (Vec<u8>, Prior) {
    let known = scores(session, 1);
    let learned: Vec<Vec<f32>> = known.iter().map(|layer| layer.iter().map(|s| s * 1.2).collect()).collect();
    let prior = session.prior(&known);
    let private = PrivateSource::simulated(StreamId::new(9, Purpose::Test).round(round.into()));
    (Update::encode(session, (round, client), &learned, &prior, &private, &Blinds::default(), 1), prior)
}

fn grid() -> ScoreGrid {
    ScoreGrid::new(8).unwrap()
}

/// A broadcast of every form, with the session that it belongs to.
fn broadcasts(round: u32) -> Vec<(Session, Broadcast)> {
    let relay = session(1, Uplink::Mrc, Downlink::Relay);
    let quantised = session(0, Uplink::Raw, Downlink::Quantised(grid()));
    let indices: Vec<i32> = scores(&quantised, 3).concat().iter().map(|&s| grid().index(s)).collect();
    let records = (1..round).map(|n| vec![n as u8; n as usize]).collect();
    let floats = session(1, Uplink::Raw, Downlink::Scores);
    let values = scores(&floats, 2);
    vec![
        (floats, Broadcast::Scores(values)),
        (relay, Broadcast::Replay { base: 0, records, digest: [3; 8] }),
        (quantised, Broadcast::Snapshot { indices, digest: [4; 8] }),
    ]
}

fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("the message must be refused").to_string()
}

#[test]
fn updates_of_every_codec_arrive_with_and_without_score_layers() {
    for uplink in UPLINKS {
        for score_layers in 0..=5 {
            let session = session(score_layers, uplink, Downlink::Scores);
            let (bytes, prior) = update(&session, 1, 2);
            let read = Update::decode(&bytes, &session, &prior, 1, 2).unwrap();
            assert_eq!(read.mask.len(), session.mask_weights());
            let sent = scores(&session, 1);
            let expected: Vec<Vec<f32>> =
                session.score_layers_of(&sent).iter().map(|l| l.iter().map(|s| s * 1.2).collect()).collect();
            assert_eq!(read.scores, expected);
        }
    }
    // 5*2*16 + 2*9 + 9 + 2 + 9 weights, one bit each.
    let (bytes, _) = update(&session(0, Uplink::Raw, Downlink::Scores), 1, 2);
    assert_eq!(bytes.len(), HEADER_BYTES + 25);
    assert!(Session::new(&arch(), SEED, 6).is_err());
}

#[test]
fn broadcasts_of_every_form_arrive() {
    for (session, sent) in broadcasts(4) {
        assert_eq!(Broadcast::decode(&sent.encode(&session, 4), &session, 4).unwrap(), sent);
    }
}

#[test]
fn a_message_from_another_run_is_refused_by_name() {
    let session = session(1, Uplink::Mrc, Downlink::Scores);
    let (bytes, prior) = update(&session, 4, 2);
    let decode = |other: &Session, round, client| reason(Update::decode(&bytes, other, &prior, round, client));
    assert!(decode(&session, 5, 2).contains("round is 4"));
    assert!(decode(&session, 4, 3).contains("client is 2"));
    assert!(reason(Broadcast::decode(&bytes, &session, 4)).contains("it is an update"));
    let other = Session::new(&arch(), SEED + 1, 1).unwrap().with_codecs(Uplink::Mrc, Downlink::Scores);
    assert!(decode(&other, 4, 2).contains("seed is 5"));
    let wider = Architecture { ngf: 2, ..arch() };
    assert!(decode(&Session::new(&wider, SEED, 1).unwrap(), 4, 2).contains("architecture"));
    let other = Session::new(&arch(), SEED, 2).unwrap().with_codecs(Uplink::Mrc, Downlink::Scores);
    assert!(decode(&other, 4, 2).contains("score layers is 1"));
    assert!(decode(&session.clone().with_codecs(Uplink::Raw, Downlink::Scores), 4, 2).contains("codec is Mrc"));
}

#[test]
fn a_broadcast_of_another_downlink_is_refused_by_name() {
    let all = broadcasts(3);
    for (at, (session, sent)) in all.iter().enumerate() {
        let bytes = sent.encode(session, 3);
        for (other, (receiver, _)) in all.iter().enumerate() {
            let receiver = session.clone().with_codecs(receiver.uplink(), receiver.downlink());
            let read = Broadcast::decode(&bytes, &receiver, 3);
            assert!(at == other || reason(read).contains("--downlink"));
        }
    }
    let (session, sent) = &all[1];
    let why = reason(Broadcast::decode(
        &Header::broadcast(session, Codec::Replay, 1).seal(&sent.encode(session, 3)[50..]),
        session,
        1,
    ));
    assert!(why.contains("bytes follow"), "{why}");
}

#[test]
fn wrong_magic_version_kind_and_codec_are_refused_by_name() {
    let session = session(0, Uplink::Raw, Downlink::Scores);
    let (good, prior) = update(&session, 0, 0);
    for (at, value, word) in [(0, b'X', "PRSM"), (4, 9, "version is 9"), (6, 9, "kind is 9"), (7, 7, "codec is 7")] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(reason(Update::decode(&bytes, &session, &prior, 0, 0)).contains(word), "{word}");
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for uplink in UPLINKS {
        let session = session(1, uplink, Downlink::Scores);
        let (good, prior) = update(&session, 1, 1);
        let refused = |bytes: &[u8]| Update::decode(bytes, &session, &prior, 1, 1).is_err();
        assert!((0..good.len()).all(|length| refused(&good[..length])));
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(&bytes), "{uplink}: bit {bit}");
        }
    }
}

#[test]
fn truncated_payloads_are_refused_even_under_a_right_checksum() {
    for uplink in UPLINKS {
        let session = session(1, uplink, Downlink::Scores);
        let (good, prior) = update(&session, 1, 1);
        let seal = |payload: &[u8]| Header::update(&session, 1, 1).seal(payload);
        for length in 0..good.len() - HEADER_BYTES {
            let cut = seal(&good[HEADER_BYTES..HEADER_BYTES + length]);
            assert!(Update::decode(&cut, &session, &prior, 1, 1).is_err(), "{uplink}: {length} bytes");
        }
        let endless = seal(&vec![0; 100_000]);
        assert!(reason(Update::decode(&endless, &session, &prior, 1, 1)).contains("bytes"));
    }
    for (session, sent) in broadcasts(4) {
        let good = sent.encode(&session, 4);
        let header = Header::parse(&good).unwrap();
        for length in 0..good.len() - HEADER_BYTES {
            let cut = header.seal(&good[HEADER_BYTES..HEADER_BYTES + length]);
            assert!(Broadcast::decode(&cut, &session, 4).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let session = session(0, Uplink::Raw, Downlink::Scores);
    let mut values = scores(&session, 2);
    values[1][3] = f32::NAN;
    let why = reason(Broadcast::decode(&Broadcast::Scores(values).encode(&session, 0), &session, 0));
    assert!(why.contains("score 3 of layer blocks.0.conv1 is NaN"), "{why}");
}

/// A record that is not one of steps.
fn record_of<'a>(bytes: &'a [u8], session: &Session, prior: &Prior) -> Result<Record<'a>> {
    Record::decode(bytes, session, prior, Vec::new)
}

#[test]
fn a_relay_of_too_many_clients_is_refused_and_unpacks_no_mask() {
    let session = session(0, Uplink::Mrc, Downlink::Relay);
    let prior = session.prior(&scores(&session, 1));
    let most = MOST_ANSWERS;
    // Payloads of no bytes are no updates, which only shows when one is read as such.
    let updates: Vec<_> = (0..most).rev().map(|client| (client, Vec::new())).collect();
    let mut bytes = record::relay(&updates);
    let relayed = (0..most).rev().map(|client| (client, &[][..])).collect();
    assert_eq!(record_of(&bytes, &session, &prior).unwrap(), Record::Relay(relayed));
    bytes[..4].copy_from_slice(&(most + 1).to_le_bytes());
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(reason(record_of(&bytes, &session, &prior)).contains("4096 clients and the limit is 4095"));
    assert!(reason(record_of(&[0; 4], &session, &prior)).contains("no clients"));
}

#[test]
fn records_of_every_downlink_come_back() {
    for score_layers in [0, 2] {
        let votes_of = |n: usize| (0..n as u32).map(|i| i % 4).collect::<Vec<_>>();
        let counts = session(score_layers, Uplink::Raw, Downlink::Counts);
        let known = scores(&counts, 1);
        let (prior, votes) = (counts.prior(&known), votes_of(counts.mask_weights()));
        let bytes = record::counts(&counts, &prior, 3, &votes, counts.score_layers_of(&known));
        let scores = counts.score_layers_of(&known).to_vec();
        assert_eq!(record_of(&bytes, &counts, &prior).unwrap(), Record::Counts { answers: 3, votes, scores });
        assert_eq!(record_of(&[], &counts, &prior).unwrap(), Record::Silent);

        let relay = session(score_layers, Uplink::Mrc, Downlink::Relay);
        let sent: Vec<Vec<u8>> = [0, 4].map(|client| update(&relay, 7, client).0).into();
        let payloads: Vec<_> = [0, 4].into_iter().zip(&sent).map(|(c, m)| (c, m[HEADER_BYTES..].to_vec())).collect();
        let relayed = payloads.iter().map(|(client, payload)| (*client, payload.as_slice())).collect();
        assert_eq!(record_of(&record::relay(&payloads), &relay, &prior).unwrap(), Record::Relay(relayed));
        for ((client, payload), message) in payloads.iter().zip(&sent) {
            let read = Update::from_payload(payload, &relay, &prior, 7, *client).unwrap();
            assert_eq!(read, Update::decode(message, &relay, &prior, 7, *client).unwrap());
        }
        let twice = [payloads[0].clone(), payloads[0].clone()];
        assert!(reason(record_of(&record::relay(&twice), &relay, &prior)).contains("two updates of client 0"));
    }
    let quantised = session(0, Uplink::Raw, Downlink::Quantised(grid()));
    let (before, after) = (vec![1; quantised.weights()], vec![-5; quantised.weights()]);
    let code = steps::encode(&before, &after, grid());
    let prior = quantised.prior(&scores(&quantised, 1));
    assert_eq!(Record::decode(&code, &quantised, &prior, || before).unwrap(), Record::Indices(after));
}

proptest! {
    #[test]
    fn what_is_sent_arrives(seed: u64, round: u32, client: u32, ngf in 1usize..4, score_layers in 0usize..=5) {
        let arch = Architecture { ngf, ..arch() };
        let session = Session::new(&arch, seed, score_layers).unwrap();
        let raw = update(&session, round, client);
        let entropy = update(&session.clone().with_codecs(Uplink::Entropy, Downlink::Scores), round, client);
        let read = Update::decode(&raw.0, &session, &raw.1, round, client).unwrap();
        let session = session.with_codecs(Uplink::Entropy, Downlink::Scores);
        prop_assert_eq!(Update::decode(&entropy.0, &session, &entropy.1, round, client).unwrap(), read);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for uplink in UPLINKS {
            let session = session(1, uplink, Downlink::Relay);
            let prior = session.prior(&scores(&session, 1));
            prop_assert!(Update::decode(&bytes, &session, &prior, 0, 0).is_err());
        }
        prop_assert!(Header::parse(&bytes).is_err());
    }

    #[test]
    fn random_payloads_under_right_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), round in 0u32..5) {
        let known = scores(&session(1, Uplink::Raw, Downlink::Scores), 1);
        for uplink in UPLINKS {
            for downlink in [Downlink::Scores, Downlink::Counts, Downlink::Relay, Downlink::Quantised(grid())] {
                let session = session(1, uplink, downlink);
                let prior = session.prior(&known);
                if let Ok(update) = Update::decode(&Header::update(&session, round, 0).seal(&bytes), &session, &prior, round, 0) {
                    let mask: &LayerBits = &update.mask;
                    prop_assert_eq!(mask.len(), session.mask_weights());
                }
                for codec in [Codec::Raw, Codec::Replay, Codec::Snapshot] {
                    let _ = Broadcast::decode(&Header::broadcast(&session, codec, round).seal(&bytes), &session, round);
                }
                let _ = Record::decode(&bytes, &session, &prior, || vec![0; session.weights()]);
            }
        }
    }
}
