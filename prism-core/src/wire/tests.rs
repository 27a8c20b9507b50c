use proptest::prelude::*;

use super::*;
use crate::mask::pack;
use crate::stream::{Purpose, StreamId};

const SEED: u64 = 5;

fn arch() -> Architecture {
    Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 2, label_scale: 3.0 }
}

fn scores(session: &Session, seed: u64) -> Vec<Vec<f32>> {
    let mut stream = StreamId::new(seed, Purpose::Test).open();
    let layer = |layer: &Layer| (0..layer.weights()).map(|_| stream.normal() as f32).collect();
    session.layers().iter().map(layer).collect()
}

fn update(session: &Session, round: u32, client: u32) -> Update {
    let layers = scores(session, 1).into_iter().enumerate().map(|(index, scores)| {
        if session.is_score_layer(index) {
            LayerUpdate::Scores(scores)
        } else {
            LayerUpdate::Bits(pack(scores.iter().map(|s| *s > 0.0)))
        }
    });
    Update { round, client, layers: layers.collect() }
}

fn reason<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("the message must be refused").to_string()
}

#[test]
fn messages_have_the_sizes_that_the_session_promises() {
    for score_layers in 0..=5 {
        let session = Session::new(&arch(), SEED, score_layers).unwrap();
        let up = update(&session, 1, 2).encode(&session);
        assert_eq!(up.len(), session.update_bytes());
        let down = Broadcast { round: 1, scores: scores(&session, 2) }.encode(&session);
        assert_eq!(down.len(), session.broadcast_bytes());
    }
    // 5*2*16 + 2*9 + 9 + 2 + 9 weights: one bit each, every layer rounded up to whole bytes.
    assert_eq!(Session::new(&arch(), SEED, 0).unwrap().update_bytes(), HEADER_BYTES + 20 + 3 + 2 + 1 + 2);
    assert!(Session::new(&arch(), SEED, 6).is_err());
}

#[test]
fn a_message_from_another_run_is_refused_by_name() {
    let session = Session::new(&arch(), SEED, 1).unwrap();
    let bytes = update(&session, 4, 2).encode(&session);
    assert!(Update::decode(&bytes, &session, 4, 2).is_ok());
    assert!(reason(Update::decode(&bytes, &session, 5, 2)).contains("round is 4"));
    assert!(reason(Update::decode(&bytes, &session, 4, 3)).contains("client is 2"));
    assert!(reason(Broadcast::decode(&bytes, &session, 4)).contains("it is an update"));
    let other = Session::new(&arch(), SEED + 1, 1).unwrap();
    assert!(reason(Update::decode(&bytes, &other, 4, 2)).contains("seed is 5"));
    let other = Session::new(&Architecture { ngf: 2, ..arch() }, SEED, 1).unwrap();
    assert!(reason(Update::decode(&bytes, &other, 4, 2)).contains("architecture"));
    let other = Session::new(&arch(), SEED, 2).unwrap();
    assert!(reason(Update::decode(&bytes, &other, 4, 2)).contains("score layers is 1"));
}

#[test]
fn wrong_magic_version_kind_and_codec_are_refused_by_name() {
    let session = Session::new(&arch(), SEED, 0).unwrap();
    let good = update(&session, 0, 0).encode(&session);
    for (at, value, word) in [(0, b'X', "PRSM"), (4, 9, "version is 9"), (6, 3, "kind is 3"), (7, 7, "codec is 7")] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(reason(Update::decode(&bytes, &session, 0, 0)).contains(word), "{word}");
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let session = Session::new(&arch(), SEED, 1).unwrap();
    let good = update(&session, 1, 1).encode(&session);
    for length in 0..good.len() {
        assert!(Update::decode(&good[..length], &session, 1, 1).is_err(), "{length} bytes");
    }
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Update::decode(&bytes, &session, 1, 1).is_err(), "bit {bit}");
    }
}

#[test]
fn scores_that_are_no_numbers_are_refused() {
    let session = Session::new(&arch(), SEED, 0).unwrap();
    let mut message = Broadcast { round: 0, scores: scores(&session, 2) };
    message.scores[1][3] = f32::NAN;
    let why = reason(Broadcast::decode(&message.encode(&session), &session, 0));
    assert!(why.contains("score 3 of layer blocks.0.conv1 is NaN"), "{why}");
}

#[test]
fn spare_bits_and_foreign_lengths_with_a_right_checksum_are_refused() {
    let session = Session::new(&arch(), SEED, 0).unwrap();
    let header = Header::new(&session, Kind::Update, Codec::Raw, 0, 0);
    let mut payload = update(&session, 0, 0).encode(&session)[HEADER_BYTES..].to_vec();
    *payload.last_mut().unwrap() |= 0x80;
    assert!(reason(Update::decode(&header.seal(&payload), &session, 0, 0)).contains("layer last"));
    payload.push(0);
    assert!(reason(Update::decode(&header.seal(&payload), &session, 0, 0)).contains("bytes"));
}

proptest! {
    #[test]
    fn what_is_sent_arrives(seed: u64, round: u32, client: u32, ngf in 1usize..4, score_layers in 0usize..=5) {
        let arch = Architecture { ngf, ..arch() };
        let session = Session::new(&arch, seed, score_layers).unwrap();
        let up = update(&session, round, client);
        prop_assert_eq!(Update::decode(&up.encode(&session), &session, round, client).unwrap(), up);
        let down = Broadcast { round, scores: scores(&session, seed) };
        prop_assert_eq!(Broadcast::decode(&down.encode(&session), &session, round).unwrap(), down);
    }

    #[test]
    fn random_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let session = Session::new(&arch(), SEED, 0).unwrap();
        prop_assert!(Update::decode(&bytes, &session, 0, 0).is_err());
        prop_assert!(Header::parse(&bytes).is_err());
    }
}
