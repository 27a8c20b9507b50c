//! Hostile and faulty clients: what the server refuses, by name, while the round goes on; and that everybody's copy of the
//! global scores stays the server's, to the bit, however messages were lost.

use std::path::Path;
use std::sync::Mutex;

use candle_core::Device;
use prism_core::Architecture;
use prism_core::codec::{Blinds, PrivateSource};
use prism_core::wire::{HEADER_BYTES, Header, Session, Update};
use prism_nn::Estimator;
use prism_nn::adam::Adam;
use prism_nn::encoder::Encoder;
use prism_nn::generator::{Generator, Styles};
use prism_nn::step::TrainingStep;
use prism_train::data::{self, LoadOptions, Source, Split};
use prism_train::federation::{
    Choice, Global, History, LocalTraining, MomentPrivacy, Resident, Round, Schedule, Server, Simulation, TrainingMask,
    Transit, Turn, Workers,
};
use prism_train::groups::Groups;
use prism_train::privacy::PrivacySettings;
use prism_train::privacy::masks::MaskNoise;
use prism_train::run::client_files;

const SEED: u64 = 4;
const CLIENTS: usize = 3;

fn session(uplink: &str, downlink: &str, score_layers: usize) -> Session {
    let arch = Architecture { image_size: 8, channels: 1, ngf: 2, latent: 8, classes: 0, label_scale: 3.0 };
    let session = Session::new(&arch, SEED, score_layers).unwrap();
    session.with_codecs(uplink.parse().unwrap(), downlink.parse().unwrap())
}

/// A tiny federation in `folder`, whose updates pass through `transit`.
fn federation(folder: &Path, session: Session, transit: Option<Transit>) -> Simulation {
    let options = LoadOptions {
        data_dir: None,
        image_size: 8,
        channels: Some(1),
        limit: Some(30),
        split: Split::Train,
        seed: SEED,
    };
    let data = data::load("strokes".parse::<Source>().unwrap(), &options).unwrap();
    let device = Device::Cpu;
    let arch = Architecture { image_size: 8, channels: 1, ngf: 2, latent: 8, classes: 0, label_scale: 3.0 };
    let encoder = Encoder::open("random:1", &device).unwrap();
    let initial = Global::initial(session.clone(), true).scores().to_vec();
    Simulation {
        server: Server::new(session.clone(), true, 0, initial, History::new(&session, 0)),
        training: LocalTraining {
            step: TrainingStep::new(Generator::new(&arch, SEED, &device).unwrap(), encoder).unwrap(),
            adam: Adam::new(0.1),
            training_mask: TrainingMask::Drawn,
            estimator: Estimator::Unbiased,
            average: None,
            schedule: Schedule { rounds: 0 },
            tanh_leak: 0.0,
            seed: SEED,
            local_steps: 1,
            batch_size: 4,
            classes_per_step: 1,
            styles: Styles::default(),
            layer_growth: 1.0,
            session,
            kl_weight: 0.0,
            choice: Choice::Seed,
            mask_noise: None,
        },
        members: (0..CLIENTS).map(|client| (client * 10..client * 10 + 10).collect()).collect(),
        folders: (0..CLIENTS).map(|client| folder.join(client.to_string())).collect(),
        client_rounds: vec![0; CLIENTS],
        committed: vec![0; CLIENTS],
        defer: true,
        conditional: false,
        groups: Groups::new(&data, false, Styles::default()),
        privacy: MomentPrivacy::None,
        moment_bytes: 0,
        asked: CLIENTS as u32,
        dropout: 0.0,
        workers: Workers::new(2, CLIENTS).unwrap(),
        resident: Resident::new(u64::MAX),
        data,
        transit,
    }
}

/// Runs a round in which client 1's update is replaced by what `forge` makes of it.
fn round_with(forge: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Sync + Send + 'static) -> Round {
    let folder = tempfile::tempdir().unwrap();
    let transit = move |turn: Turn, bytes| if turn.client == 1 { forge(bytes) } else { vec![bytes] };
    federation(folder.path(), session("mrc", "relay", 1), Some(Box::new(transit))).round(1, &|| {}).unwrap()
}

/// Seals `payload` as an update of another session, round or client, with a right checksum.
fn resealed(session: &Session, round: u32, client: u32, message: &[u8]) -> Vec<u8> {
    Header::update(session, round, client).seal(&message[HEADER_BYTES..])
}

#[test]
fn a_hostile_client_is_refused_by_name_and_the_round_goes_on() {
    type Forgery = fn(Vec<u8>) -> Vec<u8>;
    let forgeries: [(&str, Forgery); 9] = [
        ("bytes and a header alone", |_| Vec::new()),
        ("does not begin with `PRSM`", |bytes| vec![0xA5; bytes.len()]),
        ("checksum is wrong", |mut bytes| {
            bytes[HEADER_BYTES] ^= 1;
            bytes
        }),
        ("round is 7", |bytes| resealed(&session("mrc", "relay", 1), 7, 1, &bytes)),
        ("client is 2", |bytes| resealed(&session("mrc", "relay", 1), 1, 2, &bytes)),
        ("score layers is 0", |bytes| resealed(&session("mrc", "relay", 0), 1, 1, &bytes)),
        ("codec is Raw", |bytes| resealed(&session("raw", "relay", 1), 1, 1, &bytes)),
        ("architecture", |bytes| {
            let wider = Architecture { image_size: 8, channels: 1, ngf: 3, latent: 8, classes: 0, label_scale: 3.0 };
            let session =
                Session::new(&wider, SEED, 1).unwrap().with_codecs("mrc".parse().unwrap(), "relay".parse().unwrap());
            resealed(&session, 1, 1, &bytes)
        }),
        ("code ends", |bytes| {
            // A payload of noise under a header that is right in every field.
            let mut noise = bytes.clone();
            let end = noise.len();
            noise.drain(HEADER_BYTES + 6..HEADER_BYTES + 16.min(end - HEADER_BYTES));
            resealed(&session("mrc", "relay", 1), 1, 1, &noise)
        }),
    ];
    for (reason, forge) in forgeries {
        let round = round_with(move |bytes| vec![forge(bytes)]);
        assert_eq!(round.answered, [0, 2], "{reason}");
        assert_eq!(round.rejected.len(), 1, "{reason}");
        assert_eq!(round.rejected[0].client, 1);
        let found = &round.rejected[0].reason;
        assert!(found.contains(reason) || reason == "code ends", "expected '{reason}' in '{found}'");
        assert!(round.lambda.is_some() && round.loss.is_some());
    }
}

#[test]
fn a_repeated_answer_counts_once() {
    let round = round_with(|bytes| vec![bytes.clone(), bytes]);
    assert_eq!(round.answered, [0, 1, 2]);
    assert_eq!(round.rejected.len(), 1);
    assert!(round.rejected[0].reason.contains("already answered in round 1"), "{}", round.rejected[0].reason);
}

#[test]
fn an_answer_kept_from_the_round_before_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Mutex::new(Vec::new());
    let transit = move |turn: Turn, bytes: Vec<u8>| {
        if turn.client != 1 {
            return vec![bytes];
        }
        let mut kept = kept.lock().unwrap();
        if turn.round == 1 {
            *kept = bytes.clone();
            return vec![bytes];
        }
        vec![kept.clone()]
    };
    let mut federation = federation(folder.path(), session("entropy", "f32", 0), Some(Box::new(transit)));
    assert_eq!(federation.round(1, &|| {}).unwrap().answered, [0, 1, 2]);
    let second = federation.round(2, &|| {}).unwrap();
    assert_eq!(second.answered, [0, 2]);
    assert!(second.rejected[0].reason.contains("round is 1 and the receiver waits for 2"));
}

#[test]
fn everybody_holds_the_server_s_scores_to_the_bit_whatever_was_lost() {
    for (uplink, downlink) in
        [("mrc", "relay"), ("entropy", "counts"), ("raw", "relay"), ("mrc", "quantised:6"), ("raw", "counts")]
    {
        for score_layers in [0, 2] {
            let folder = tempfile::tempdir().unwrap();
            let session = session(uplink, downlink, score_layers);
            // Client 0's answers are lost in rounds 2 to 4, client 1's in round 3, everybody's in round 5.
            let lost = |turn: Turn, bytes| match (turn.client, turn.round) {
                (0, 2..=4) | (1, 3) | (_, 5) => vec![],
                _ => vec![bytes],
            };
            let mut federation = federation(folder.path(), session.clone(), Some(Box::new(lost)));
            for number in 1..=7 {
                let before = federation.server.known().digest();
                let report = federation.round(number, &|| {}).unwrap();
                assert_eq!(report.lambda.is_none(), number == 5);
                // What each client that answered was told is what the server held when it asked.
                for &client in &report.answered {
                    let folder = folder.path().join(client.to_string());
                    let global = client_files::load_global(&folder, number, &session, true).unwrap();
                    assert_eq!(global.digest(), before, "{uplink}/{downlink}: client {client} in round {number}");
                }
            }
            assert_eq!(federation.client_rounds, [7, 7, 7]);
        }
    }
}

#[test]
fn a_client_that_missed_much_takes_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let session = session("raw", "relay", 0);
    let lost = |turn: Turn, bytes| if turn.client == 0 && turn.round < 9 { vec![] } else { vec![bytes] };
    let mut federation = federation(folder.path(), session.clone(), Some(Box::new(lost)));
    let mut sizes = Vec::new();
    for number in 1..=9 {
        sizes.push(federation.server.broadcast(0).bytes.len());
        assert!(federation.round(number, &|| {}).unwrap().rejected.is_empty());
    }
    // Raw updates are long, so a few of them outweigh a snapshot, whose size then stays.
    assert!(sizes[1] < sizes[2] && sizes[2] < sizes[3], "{sizes:?}");
    assert!(sizes[7].abs_diff(sizes[8]) < sizes[8] / 10, "{sizes:?}");
    let global = client_files::load_global(&folder.path().join("0"), 9, &session, true).unwrap();
    assert_eq!(global.round(), 8);
}

#[test]
fn a_client_whose_mask_is_noised_tells_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let settings = PrivacySettings { dp_epsilon: Some(10.0), ..PrivacySettings::default() };
    let budget = settings.budget().unwrap().unwrap();
    let mut federation = federation(folder.path(), session("raw", "f32", 0), None);
    federation.training.mask_noise = Some(MaskNoise::plan(&settings, budget, (3, 1)).unwrap().0);
    let round = federation.round(1, &|| {}).unwrap();
    assert_eq!((round.answered, round.loss), (vec![0, 1, 2], None));
}

#[test]
fn the_systems_randomness_gives_other_masks_that_are_as_good() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let mut federation = federation(folder.path(), session("entropy", "counts", 0), None);
        federation.training.choice = Choice::System;
        federation.round(1, &|| {}).unwrap();
        federation.server.known().digest()
    };
    assert_ne!(run(), run());
}

#[test]
fn blinded_sums_lead_to_the_scores_of_open_differences_whoever_is_lost() {
    let run = |uplink| {
        let folder = tempfile::tempdir().unwrap();
        let lost = |turn: Turn, bytes: Vec<u8>| match (turn.client, turn.round) {
            (1, 2) | (_, 4) => vec![],
            (0, 3) => vec![vec![0; bytes.len()]],
            _ => vec![bytes],
        };
        let mut federation = federation(folder.path(), session(uplink, "counts", 0), Some(Box::new(lost)));
        let sizes: Vec<u64> = (1..=5).map(|round| federation.round(round, &|| {}).unwrap().uplink_bytes).collect();
        (federation.server.known().digest(), sizes)
    };
    let ((open, open_sizes), (sums, sizes)) = (run("flips"), run("sums"));
    assert_eq!(open, sums);
    // Three clients' sums take two bits; in round 2 the two that answered each reveal a key.
    assert!(sizes[0] > open_sizes[0] && sizes[1] > open_sizes[1] + 2 * 86, "{sizes:?} against {open_sizes:?}");
}

#[test]
fn wrong_blinds_cost_the_round_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    // Numbers of two bits hold the votes 0 to 3; with one client lost, a 3 is impossible and tells of a forgery.
    let forged = |turn: Turn, bytes: Vec<u8>| match turn.client {
        0 => vec![],
        1 => vec![resealed(&session("sums", "counts", 0), 1, 1, &forge_sums(bytes))],
        _ => vec![bytes],
    };
    let mut federation = federation(folder.path(), session("sums", "counts", 0), Some(Box::new(forged)));
    let before = federation.server.scores().to_vec();
    assert!(federation.round(1, &|| {}).unwrap().lambda.is_none());
    assert_eq!(federation.server.scores(), before);
    federation.transit = None;
    let second = federation.round(2, &|| {}).unwrap();
    assert_eq!((second.answered, second.lambda.is_some()), (vec![0, 1, 2], true));
}

/// Changes many numbers of a message of sums and leaves its spare bits alone.
fn forge_sums(mut bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.len() - 1;
    bytes[HEADER_BYTES..last].iter_mut().for_each(|byte| *byte ^= 0x5A);
    bytes
}

#[test]
fn a_client_with_other_scores_notices() {
    let session = session("mrc", "relay", 0);
    let mut server = Server::new(
        session.clone(),
        true,
        0,
        Global::initial(session.clone(), true).scores().to_vec(),
        History::new(&session, 0),
    );
    let mut ballot = server.open_ballot(&[0]);
    let prior = server.known().prior();
    let private = PrivateSource::new([7; 32]);
    let update = Update::encode(&session, (1, 0), server.known().scores(), &prior, &private, &Blinds::default(), 1);
    ballot.count(ballot.read(0, &update).unwrap()).unwrap();
    server.end_round(ballot, 0.0);
    let opening = server.broadcast(0).bytes;
    let mut good = Global::initial(session.clone(), true);
    good.receive(&opening, 2).unwrap();
    assert_eq!(good.digest(), server.known().digest());
    // One that does not average as the server does ends elsewhere; one that is a round ahead cannot go on from there.
    let plain = Global::initial(session.clone(), false).receive(&opening, 2).unwrap_err().to_string();
    assert!(plain.contains("another state"), "{plain}");
    let ahead = good.receive(&opening, 2).unwrap_err().to_string();
    assert!(ahead.contains("after round 0") && ahead.contains("snapshot"), "{ahead}");
}
