use proptest::prelude::*;

use super::*;
use crate::codec::counts::MOST_ANSWERS;
use crate::codec::{Learned, PrivateSource, ScoreGrid};
use crate::secagg::Blinds;
use prism_core::mask::LayerBits;
use prism_core::stream::{Purpose, StreamId};

const SEED: u64 = 5;
const UPLINKS: [Uplink; 3] = [Uplink::Raw, Uplink::Mrc, Uplink::Flips];

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
    let layers: Vec<&[f32]> = learned.iter().map(Vec::as_slice).collect();
    let learned = Learned { layers: &layers, prior: &prior, private: &private, blinds: &Blinds::default(), threads: 1 };
    (Update::encode(session, round, client, &learned), prior)
}

/// A broadcast of every form, with the session that it belongs to.
fn broadcasts(round: u32) -> Vec<(Session, Broadcast)> {
    let relay = session(1, Uplink::Mrc, Downlink::Relay);
    let counts = session(0, Uplink::Raw, Downlink::Counts);
    let indices = scores(&counts, 3).concat().iter().map(|&s| ScoreGrid::FINE.index(s)).collect();
    let records = (1..round).map(|n| vec![n as u8; n as usize]).collect();
    let broadcast = |last, content| Broadcast { last, cohort: Vec::new(), content };
    let floats = session(1, Uplink::Raw, Downlink::Scores);
    let values = scores(&floats, 2);
    vec![
        (floats, broadcast(0, Content::Scores(values))),
        (relay, broadcast(1, Content::Replay { records, digest: [3; 8] })),
        (counts, broadcast(2, Content::Snapshot { indices, digest: [4; 8] })),
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
        assert_eq!(Broadcast::decode(&sent.encode(&session, 4), &session).unwrap(), (4, sent));
    }
}

#[test]
fn a_message_from_another_run_is_refused_by_name() {
    let session = session(1, Uplink::Mrc, Downlink::Scores);
    let (bytes, prior) = update(&session, 4, 2);
    let decode = |other: &Session, round, client| reason(Update::decode(&bytes, other, &prior, round, client));
    assert!(decode(&session, 5, 2).contains("round is 4"));
    assert!(decode(&session, 4, 3).contains("client is 2"));
    assert!(reason(Broadcast::decode(&bytes, &session)).contains("it is an update"));
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
            let read = Broadcast::decode(&bytes, &receiver);
            assert!(at == other || reason(read).contains("the same codec"));
        }
    }
    let (session, sent) = &all[1];
    let of_round = |round| Header::broadcast(session, Codec::Replay, round).seal(&sent.encode(session, 3)[50..]);
    let why = reason(Broadcast::decode(&of_round(2), session));
    assert!(why.contains("bytes follow"), "{why}");
    let why = reason(Broadcast::decode(&of_round(1), session));
    assert!(why.contains("builds on the receiver's round 1"), "{why}");
    let summed = session.clone().with_codecs(Uplink::Sums, Downlink::Counts);
    let content = Content::Replay { records: Vec::new(), digest: [0; 8] };
    let sent = |cohort| Broadcast { last: 0, cohort, content: content.clone() }.encode(&summed, 1);
    assert_eq!(Broadcast::decode(&sent(vec![1, 4]), &summed).unwrap().1.cohort, [1, 4]);
    assert!(reason(Broadcast::decode(&sent(vec![4, 1]), &summed)).contains("ascending"));
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
            assert!(Broadcast::decode(&cut, &session).is_err(), "{length} bytes");
        }
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let session = session(0, Uplink::Raw, Downlink::Scores);
    let mut values = scores(&session, 2);
    values[1][3] = f32::NAN;
    let sent = Broadcast { last: 0, cohort: Vec::new(), content: Content::Scores(values) };
    let why = reason(Broadcast::decode(&sent.encode(&session, 1), &session));
    assert!(why.contains("score 3 of layer blocks.0.conv1 is NaN"), "{why}");
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
    assert_eq!(Record::decode(&bytes, &session, &prior).unwrap(), Record::Relay(relayed));
    bytes[..4].copy_from_slice(&(most + 1).to_le_bytes());
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    assert!(reason(Record::decode(&bytes, &session, &prior)).contains("4096 clients and the limit is 4095"));
    assert!(reason(Record::decode(&[0; 4], &session, &prior)).contains("no clients"));
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
        assert_eq!(Record::decode(&bytes, &counts, &prior).unwrap(), Record::Counts { answers: 3, votes, scores });
        assert_eq!(Record::decode(&[], &counts, &prior).unwrap(), Record::Silent);

        let relay = session(score_layers, Uplink::Mrc, Downlink::Relay);
        let sent: Vec<Vec<u8>> = [0, 4].map(|client| update(&relay, 7, client).0).into();
        let payloads: Vec<_> = [0, 4].into_iter().zip(&sent).map(|(c, m)| (c, m[HEADER_BYTES..].to_vec())).collect();
        let relayed = payloads.iter().map(|(client, payload)| (*client, payload.as_slice())).collect();
        assert_eq!(Record::decode(&record::relay(&payloads), &relay, &prior).unwrap(), Record::Relay(relayed));
        for ((client, payload), message) in payloads.iter().zip(&sent) {
            let read = Update::from_payload(payload, &relay, &prior, 7, *client).unwrap();
            assert_eq!(read, Update::decode(message, &relay, &prior, 7, *client).unwrap());
        }
        let twice = [payloads[0].clone(), payloads[0].clone()];
        assert!(reason(Record::decode(&record::relay(&twice), &relay, &prior)).contains("two updates of client 0"));
    }
}

proptest! {
    #[test]
    fn what_is_sent_arrives(seed: u64, round: u32, client: u32, ngf in 1usize..4, score_layers in 0usize..=5) {
        let arch = Architecture { ngf, ..arch() };
        let session = Session::new(&arch, seed, score_layers).unwrap();
        for uplink in UPLINKS {
            let session = session.clone().with_codecs(uplink, Downlink::Scores);
            let (bytes, prior) = update(&session, round, client);
            let read = Update::decode(&bytes, &session, &prior, round, client).unwrap();
            prop_assert_eq!((read.mask.len(), read.scores.len()), (session.mask_weights(), score_layers));
        }
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
    fn random_payloads_under_right_headers_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400), round in 0u32..5,
    ) {
        let known = scores(&session(1, Uplink::Raw, Downlink::Scores), 1);
        for uplink in UPLINKS {
            for downlink in [Downlink::Scores, Downlink::Counts, Downlink::Relay] {
                let session = session(1, uplink, downlink);
                let prior = session.prior(&known);
                let update = Header::update(&session, round, 0).seal(&bytes);
                if let Ok(update) = Update::decode(&update, &session, &prior, round, 0) {
                    let mask: &LayerBits = &update.mask;
                    prop_assert_eq!(mask.len(), session.mask_weights());
                }
                for codec in [Codec::Raw, Codec::Replay, Codec::Snapshot] {
                    let _ = Broadcast::decode(&Header::broadcast(&session, codec, round).seal(&bytes), &session);
                }
                let _ = Record::decode(&bytes, &session, &prior);
            }
        }
    }
}
