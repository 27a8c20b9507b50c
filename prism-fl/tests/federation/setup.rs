//! Before the first round: what all agree on does not depend on who answers first, and is not asked or drawn twice.

use crate::fleet::{CLIENTS, Fleet, agreement, settings};
use prism_fl::settings::privacy::{Mechanism, Trust};
use prism_fl::settings::{Settings, TrainingMode, UpdateCodec};
use prism_fl::setup::{Phase, Request};
use prism_fl::{Agreement, Error, Randomness};

fn names() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

/// A one-shot federation whose classes are divided in two.
fn one_shot() -> Settings {
    let mut settings = settings(UpdateCodec::Flips);
    (settings.federation.mode, settings.federation.rounds) = (TrainingMode::OneShot, 2);
    (settings.training.subclasses, settings.training.batch_size) = (2, 8);
    settings
}

fn open(folder: &tempfile::TempDir, agreement: Agreement) -> Fleet {
    Fleet::open_with(folder.path(), agreement, Randomness::Seed)
}

#[test]
fn the_order_of_replies_changes_no_bit() {
    let scores = |order: [u32; 3]| {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = open(&folder, agreement(one_shot(), Vec::new()));
        fleet.set_up(&order);
        fleet.server.end_round(&()).unwrap();
        fleet.server.scores().to_vec()
    };
    assert_eq!(scores([0, 1, 2]), scores([2, 0, 1]));
}

#[test]
fn a_server_that_is_killed_between_phases_goes_on_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = open(&folder, agreement(one_shot(), Vec::new()));
    let request = fleet.server.request(0).unwrap();
    for id in 0..CLIENTS {
        let reply = fleet.clients[id as usize].reply(&request, &()).unwrap();
        fleet.server.accept_reply(id, &reply).unwrap();
        assert!(fleet.server.accept_reply(id, &reply).unwrap_err().reason.contains("already answered"));
    }
    fleet.server.end_exchange().unwrap();
    let mut reopened = open(&folder, agreement(one_shot(), Vec::new()));
    assert_ne!(reopened.server.request(0).unwrap(), request, "the thresholds are agreed on");
    reopened.set_up(&[0, 1, 2]);
    assert!(reopened.server.exchange().unwrap().is_none());
    assert!(reopened.server.end_round(&()).unwrap().loss().is_some());
}

/// A message that could not be added to others would otherwise end the run when all have answered.
#[test]
fn moments_that_are_none_are_refused_when_they_come_and_the_others_go_on() {
    let mut noisy = one_shot();
    (noisy.training.subclasses, noisy.privacy.epsilon, noisy.privacy.delta) = (1, Some(100.0), 1e-3);
    let mut small = one_shot();
    small.training.subclasses = 1;
    for settings in [small, noisy] {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = open(&folder, agreement(settings, Vec::new()));
        fleet.server.exchange().unwrap();
        let request = fleet.server.request(0).unwrap();
        let reply = |fleet: &mut Fleet, id: usize| fleet.clients[id].reply(&request, &()).unwrap();
        let mut cut = reply(&mut fleet, 0);
        cut.truncate(cut.len() - 1);
        for damaged in [cut, Vec::new(), vec![7; 100]] {
            assert!(fleet.server.accept_reply(0, &damaged).is_err());
        }
        for id in [1, 2] {
            let reply = reply(&mut fleet, id as usize);
            fleet.server.accept_reply(id, &reply).unwrap();
        }
        fleet.server.end_exchange().unwrap();
        assert!(fleet.server.end_round(&()).unwrap().loss().is_some());
    }
}

/// Moments of all clients together, under a secure sum.
fn summed() -> Settings {
    let mut private = one_shot();
    (private.training.subclasses, private.privacy.epsilon) = (1, Some(100.0));
    private.privacy.trust = Trust::SECAGG;
    private.privacy.delta = 1e-3;
    private
}

/// One exchange, with the replies of these clients.
fn exchange(fleet: &mut Fleet, clients: &[u32]) -> prism_fl::Result<()> {
    fleet.server.exchange()?;
    for &id in clients {
        let reply = fleet.clients[id as usize].reply(&fleet.server.request(id)?, &())?;
        fleet.server.accept_reply(id, &reply).unwrap();
    }
    fleet.server.end_exchange()
}

#[test]
fn a_client_that_lost_its_folder_gets_what_was_agreed_on_and_a_snapshot() {
    for codec in [UpdateCodec::Flips, UpdateCodec::Raw] {
        let mut divided = settings(codec);
        (divided.training.subclasses, divided.training.batch_size) = (2, 8);
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = open(&folder, agreement(divided.clone(), Vec::new()));
        assert!(fleet.server.start_request().unwrap().is_none(), "nothing is agreed yet");
        // Client 2 is away before the first round.
        fleet.set_up(&[0, 1]);
        assert_eq!(fleet.round().answered, [0, 1, 2]);
        std::fs::remove_dir_all(folder.path().join("clients/0001")).unwrap();
        let mut fleet = open(&folder, agreement(divided, Vec::new()));
        fleet.server.ask(&[0, 1, 2]).unwrap();
        let broadcast = fleet.server.broadcast(1).bytes;
        assert!(matches!(fleet.clients[1].round(&broadcast, &()), Err(Error::NeedsSnapshot { .. })));
        assert_eq!(fleet.round().answered, [0, 1, 2]);
    }
}

/// Whoever speaks for the server must not get what the settings keep from it, nor a reply that the client falls over.
#[test]
fn a_server_that_asks_for_what_is_not_agreed_gets_nothing() {
    let refuse = |settings: Settings, phase, thresholds: Vec<Vec<f64>>, word: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = open(&folder, agreement(settings, Vec::new()));
        let request = Request { phase, thresholds, sum: Vec::new(), dealers: Vec::new() };
        let request = request.encode(fleet.context.agreement()).unwrap();
        let why = fleet.clients[0].reply(&request, &()).unwrap_err().to_string();
        assert!(why.contains(word), "{why}");
        assert!(!fleet.clients[0].has_drawn() || !fleet.context.sums_securely(), "nothing is drawn");
    };
    let mut mask = settings(UpdateCodec::Raw);
    (mask.privacy.epsilon, mask.privacy.mechanism) = (Some(10.0), Mechanism::Mask);
    let mut local = settings(UpdateCodec::Raw);
    (local.privacy.epsilon, local.privacy.delta) = (Some(100.0), 1e-3);
    for settings in [mask, local, settings(UpdateCodec::Sums), settings(UpdateCodec::Raw)] {
        refuse(settings.clone(), Phase::Moments, Vec::new(), "asks for moments");
        refuse(settings, Phase::Subclasses, Vec::new(), "asks for subclasses");
    }
    for thresholds in [vec![], vec![vec![]], vec![vec![0.5]; 2]] {
        refuse(one_shot(), Phase::Moments, thresholds, "thresholds");
    }
    refuse(one_shot(), Phase::Subclasses, vec![vec![0.5]], "before they are agreed on");
    let mut divided = settings(UpdateCodec::Raw);
    (divided.training.subclasses, divided.training.batch_size) = (2, 8);
    refuse(divided, Phase::Start, Vec::new(), "thresholds");
}

#[test]
fn noise_is_drawn_once_whatever_sum_it_goes_into() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = open(&folder, agreement(summed(), Vec::new()));
    assert!(!fleet.clients[0].has_drawn());
    exchange(&mut fleet, &[0, 1, 2]).unwrap();
    exchange(&mut fleet, &[0, 1, 2]).unwrap();
    let request = fleet.server.request(0).unwrap();
    let first = fleet.clients[0].reply(&request, &()).unwrap();
    let drawn = || std::fs::read(folder.path().join("clients/0000/reply-moments.message")).unwrap();
    let release = drawn();
    // Whoever is opened anew gives the same bytes; another attempt has the same release under other blinds.
    let mut reopened = open(&folder, agreement(summed(), Vec::new()));
    assert!(reopened.clients[0].has_drawn() && !reopened.clients[1].has_drawn());
    assert_eq!(reopened.clients[0].reply(&request, &()).unwrap(), first);
    exchange(&mut reopened, &[0, 1, 2]).unwrap();
    exchange(&mut reopened, &[0, 1, 2]).unwrap();
    let again = reopened.clients[0].reply(&reopened.server.request(0).unwrap(), &()).unwrap();
    assert_eq!(again.len(), first.len());
    assert!(again != first && drawn() == release);
}

#[test]
fn a_secure_sum_lacks_nobody_s_noise_and_is_tried_again_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = open(&folder, agreement(summed(), Vec::new()));
    let why = exchange(&mut fleet, &[0, 2]).unwrap_err().to_string();
    assert!(why.contains("secure sum of moments") && why.contains("2 of 3 clients"), "{why}");
    fleet.set_up(&[0, 1, 2]);
    assert!(fleet.server.end_round(&()).unwrap().loss().is_some());
}

/// A server and clients that are opened anew between any two exchanges, with a client lost at the end of each sum.
#[test]
fn a_secure_sum_goes_on_after_every_restart_and_without_a_third_of_the_clients_at_its_end() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut fleet = open(&whole, agreement(summed(), Vec::new()));
    fleet.set_up(&[0, 1, 2]);
    fleet.server.end_round(&()).unwrap();
    let expected = fleet.server.scores().to_vec();
    // The same noise, so that both ways can be compared.
    for id in 0..CLIENTS {
        let name = format!("clients/000{id}/reply-moments.message");
        std::fs::create_dir_all(killed.path().join(&name).parent().unwrap()).unwrap();
        std::fs::copy(whole.path().join(&name), killed.path().join(&name)).unwrap();
    }
    let mut fleet = open(&killed, agreement(summed(), Vec::new()));
    // Until the input is complete a restart begins anew; from then on each exchange is its own process.
    (0..3).for_each(|_| exchange(&mut fleet, &[0, 1, 2]).unwrap());
    for clients in [&[0, 2][..], &[0, 2]] {
        let mut fleet = open(&killed, agreement(summed(), Vec::new()));
        exchange(&mut fleet, clients).unwrap();
    }
    let mut fleet = open(&killed, agreement(summed(), Vec::new()));
    assert!(fleet.server.exchange().unwrap().is_none());
    fleet.server.end_round(&()).unwrap();
    assert_eq!(fleet.server.scores(), expected);
}

#[test]
fn a_client_of_other_settings_or_a_damaged_request_is_refused_by_name() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fleet = open(&here, agreement(one_shot(), Vec::new()));
    let request = fleet.server.request(0).unwrap();
    let mut wider = one_shot();
    wider.model.ngf = 3;
    let mut other = open(&there, agreement(wider, Vec::new()));
    let why = other.clients[0].reply(&request, &()).unwrap_err().to_string();
    assert!(why.contains("the same settings"), "{why}");
    let mut own = open(&there, agreement(one_shot(), Vec::new()));
    for length in 0..request.len() {
        assert!(own.clients[0].reply(&request[..length], &()).is_err(), "{length} bytes");
    }
    for at in 0..request.len() {
        let mut flipped = request.clone();
        flipped[at] ^= 4;
        assert!(own.clients[0].reply(&flipped, &()).is_err(), "byte {at}");
    }
}

#[test]
fn rounds_of_divided_classes_start_with_thresholds_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(UpdateCodec::Flips);
    (settings.training.subclasses, settings.training.batch_size) = (2, 8);
    let mut fleet = open(&folder, agreement(settings, names()));
    assert!(fleet.clients[0].prepare(&()).unwrap_err().to_string().contains("setup"));
    fleet.set_up(&[0, 1, 2]);
    // Ten images of ten classes leave no class with two, so the unconditional model is what these clients can train.
    let few = fleet.clients[0].prepare(&()).unwrap_err().to_string();
    assert!(few.contains("no two are of one class"), "{few}");
}
