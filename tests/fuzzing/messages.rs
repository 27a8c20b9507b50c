//! What crosses the wire once: moments, noisy releases, counts and the messages of a secure sum.

use prism_core::stream::{Purpose, StreamId};
use prism_fl::moments::coded::layer::LayerShape;
use prism_fl::moments::envelope::{self, Kind};
use prism_fl::moments::message::Form;
use prism_fl::moments::statistics::{GroupStatistics, Statistics};
use prism_fl::privacy::message::{decode_counts, decode_noisy, decode_ring, encode_counts, encode_noisy, encode_ring};
use prism_fl::secagg::keys::Advert;
use prism_fl::secagg::message::{Body, Dealt, Request, SEALED_BYTES, TAG_BYTES, decode_reply, encode_reply};
use prism_fl::secagg::{Purpose as SumPurpose, RingVector, Stage, SumId};

use super::Target;

/// One of each kind of message.
pub fn targets() -> Vec<Target> {
    let [counts, noisy, ring] = private();
    vec![moments(), counts, noisy, ring, sum_request(), sum_input()]
}

/// A release with noise, and an opened sum.
fn private() -> [Target; 3] {
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
        Target::new("counts", vec![counts], of_counts),
        Target::new("noisy", noisy.to_vec(), of_noisy),
        Target::new("ring", vec![ring], of_ring),
    ]
}

/// What a server asks in each stage of a secure sum; what is taken has no other bytes.
fn sum_request() -> Target {
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
    Target::new("secure-sum request", truths.to_vec(), decode)
}

/// What a client's input to a secure sum is read as, ten numbers of 21 bits; bodies of other replies have a fixed length.
fn sum_input() -> Target {
    let id = SumId { federation: [3; 32], purpose: SumPurpose::Moments, round: 0, attempt: 2 };
    let truth = RingVector::new(21, (0..10).map(|i| i * 77_777).collect()).pack();
    let truth = encode_reply(Stage::Input, &id, &truth)[envelope::BYTES..].to_vec();
    let decode = move |payload: &[u8]| {
        let message = envelope::seal(Kind::SumReply, payload);
        let Ok(body) = decode_reply(Stage::Input, &id, &message) else { return false };
        let input = RingVector::unpack(21, 10, body);
        input.map(|input| assert_eq!(encode_reply(Stage::Input, &id, &input.pack()), message)).is_ok()
    };
    Target::new("secure-sum input", vec![truth], decode)
}

/// A client's message of moments: three groups of a layer of two maps and of one of three numbers.
fn moments() -> Target {
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
    Target::new("moments", truths, decode)
}
