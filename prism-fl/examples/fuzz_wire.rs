//! Throws forged messages at every decoder of the wire and reports how many were taken: none may panic or hang.
//!
//! ```sh
//! cargo run --release -p prism-fl --example fuzz_wire -- 10000000 1 relay     # inputs a decoder, seed, part of its name
//! ```
//!
//! An input is noise, or a true message with bytes flipped, inserted, removed or repeated, under a right header and
//! checksum, so that it reaches the innermost decoder. What a decoder takes must have the session's shapes.

use std::time::Instant;

use prism_core::Architecture;
use prism_core::stream::{Purpose, Stream, StreamId};
use prism_fl::codec::{Learned, Prior, PrivateSource, Uplink};
use prism_fl::moments::coded::layer::LayerShape;
use prism_fl::moments::envelope::{self, Kind};
use prism_fl::moments::message::Form;
use prism_fl::moments::statistics::{GroupStatistics, Statistics};
use prism_fl::privacy::message::{decode_counts, decode_noisy, decode_ring, encode_counts, encode_noisy, encode_ring};
use prism_fl::secagg::keys::Advert;
use prism_fl::secagg::message::{Body, Dealt, Request, SEALED_BYTES, TAG_BYTES};
use prism_fl::secagg::{Blinds, Purpose as SumPurpose, SumId};
use prism_fl::wire::{Broadcast, Codec, Content, Downlink, HEADER_BYTES, Header, Record, Session, Update, record};

const ROUND: u32 = 3;
/// Bits of a blinded number, and the attempt at the sum.
const SUM: (u32, u32) = (2, 1);

/// Whether a decoder took a payload.
type Decode = dyn Fn(&[u8]) -> bool;

/// A decoder, and true payloads of what it decodes.
struct Target {
    name: String,
    truths: Vec<Vec<u8>>,
    decode: Box<Decode>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let inputs: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let seed: u64 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let wanted = arguments.next().unwrap_or_default();
    for target in targets().into_iter().filter(|target| target.name.contains(&wanted)) {
        let begun = Instant::now();
        let mut stream = StreamId::new(seed, Purpose::Test).open();
        let taken = (0..inputs).filter(|_| (target.decode)(&forge(&target.truths, &mut stream))).count();
        println!("{:<24} {inputs} inputs, {taken} taken, {:.1} s", target.name, begun.elapsed().as_secs_f64());
    }
}

/// Noise, or a true payload after a few accidents.
fn forge(truths: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    if stream.below(8) == 0 {
        let mut noise = vec![0; stream.below(120)];
        stream.fill(&mut noise);
        return noise;
    }
    let mut bytes = truths[stream.below(truths.len())].clone();
    for _ in 0..=stream.below(4) {
        let at = stream.below(bytes.len().max(1));
        match stream.below(5) {
            _ if bytes.is_empty() => bytes.push(stream.next_u32() as u8),
            0 => bytes[at] ^= 1 << stream.below(8),
            1 => bytes[at] = stream.next_u32() as u8,
            2 => bytes.insert(at, stream.next_u32() as u8),
            3 => bytes.truncate(at),
            _ => {
                let end = (at + stream.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.extend(piece);
            }
        }
    }
    bytes
}

fn targets() -> Vec<Target> {
    let arch = Architecture { image_size: 8, channels: 1, ngf: 1, latent: 3, classes: 0, label_scale: 3.0 };
    let mut targets = Vec::new();
    for uplink in ["raw", "mrc", "flips", "sums"] {
        for downlink in ["f32", "counts", "relay"] {
            for score_layers in [0, 1] {
                let session = Session::new(&arch, 1, score_layers).expect("a valid session");
                let session = session.with_codecs(uplink.parse().expect("a codec"), downlink.parse().expect("a codec"));
                if downlink == "f32" || uplink == "mrc" {
                    targets.extend(targets_of(&session));
                }
            }
        }
    }
    targets.push(moments_target());
    targets.extend(private_targets());
    targets.push(secure_sum_target());
    targets
}

/// A release with noise, and an opened sum.
fn private_targets() -> [Target; 3] {
    const SHAPE: (usize, usize) = (2, 5);
    let sums = vec![vec![1_000_000, -3, 70_000, 0, 9], vec![-1, 5, -900_000, 12, 1 << 26]];
    let noisy = [1, 9000].map(|sigma| encode_noisy(&sums, sigma)[envelope::BYTES..].to_vec());
    let ring = encode_ring(&sums, 29)[envelope::BYTES..].to_vec();
    let of_noisy = |payload: &[u8]| decode_noisy(&envelope::seal(Kind::Noisy, payload), SHAPE).is_ok();
    let of_ring = |payload: &[u8]| match decode_ring(&envelope::seal(Kind::Ring, payload), 29, 10) {
        Ok(numbers) => {
            assert!(numbers.len() == 10 && numbers.iter().all(|&number| number < 1 << 29));
            true
        }
        Err(_) => false,
    };
    let counts = encode_counts(&vec![vec![0, 0, 3, 1, 0], vec![0, 900, 0, 0, 1]])[envelope::BYTES..].to_vec();
    let of_counts = |payload: &[u8]| match decode_counts(&envelope::seal(Kind::Counts, payload), 10) {
        Ok(counts) => {
            assert_eq!(counts.len(), 10);
            true
        }
        Err(_) => false,
    };
    [
        Target { name: "counts".into(), truths: vec![counts], decode: Box::new(of_counts) },
        Target { name: "private noisy".into(), truths: noisy.to_vec(), decode: Box::new(of_noisy) },
        Target { name: "private ring".into(), truths: vec![ring], decode: Box::new(of_ring) },
    ]
}

/// What a server asks in each stage of a secure sum; what is taken has no other bytes.
fn secure_sum_target() -> Target {
    let id = SumId { federation: [3; 32], purpose: SumPurpose::Round, round: 7, attempt: 1 };
    let advert = Advert::from_bytes(&std::array::from_fn(|at| at as u8));
    let dealt = Dealt { sealed: [5; SEALED_BYTES], tags: [[6; TAG_BYTES], [7; TAG_BYTES]] };
    let bodies = [
        Body::Keys(vec![0, 1, 4]),
        Body::Shares(vec![(0, advert), (4, advert)]),
        Body::Survivors { dealers: vec![0, 1, 4], survivors: vec![0, 4] },
        Body::Unmask { signatures: vec![(0, [8; 64]), (4, [9; 64])], dealt: vec![dealt; 3] },
    ];
    let truths = bodies.map(|body| Request { id: id.clone(), body }.encode()[envelope::BYTES..].to_vec());
    let decode = |payload: &[u8]| {
        let message = envelope::seal(Kind::SumRequest, payload);
        match Request::decode(&message) {
            Ok(request) => {
                assert_eq!(request.encode(), message);
                true
            }
            Err(_) => false,
        }
    };
    Target { name: "secure sum".into(), truths: truths.to_vec(), decode: Box::new(decode) }
}

/// A client's message of moments: three groups of a layer of two maps and of one of three numbers.
fn moments_target() -> Target {
    let form = Form { groups: 8, subclasses: 2, layers: LayerShape::all(&[[2, 4, 4], [3, 1, 1]]) };
    let mut stream = StreamId::new(7, Purpose::Test).open();
    let mut layer = |features: usize| {
        let mut numbers = || (0..features).map(|_| stream.normal().abs() as f32).collect();
        Statistics { count: 9.0, mean: numbers(), variance: numbers() }
    };
    let measured: GroupStatistics = [1, 2, 6].map(|group| (group, vec![layer(32), layer(3)])).into();
    let truth = |most| form.encode(measured.clone(), most).expect("room enough")[envelope::BYTES..].to_vec();
    let truths = [10_000, 200].map(truth).to_vec();
    let decode = move |payload: &[u8]| match form.decode(&envelope::seal(Kind::Moments, payload)) {
        Ok(found) => {
            let numbers = found.values().flatten().flat_map(|layer| layer.mean.iter().chain(&layer.variance));
            assert!(numbers.copied().all(f32::is_finite));
            true
        }
        Err(_) => false,
    };
    Target { name: "moments".into(), truths, decode: Box::new(decode) }
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
    Target { name, truths, decode: Box::new(decode) }
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
    Target { name, truths, decode: Box::new(decode) }
}

fn record_target(
    name: String,
    session: &Session,
    prior: &Prior,
    known: &[Vec<f32>],
    updates: &[(u32, Vec<u8>)],
) -> Target {
    let votes: Vec<u32> = (0..session.mask_weights() as u32).map(|i| i % 4).collect();
    let truths = vec![
        record::relay(updates),
        record::counts(session, prior, 3, &votes, session.score_layers_of(known)),
        Vec::new(),
    ];
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
    Target { name, truths, decode: Box::new(decode) }
}
