//! Before the first round: what all agree on does not depend on who answers first, and is not asked or drawn twice.

use crate::fleet::{CLIENTS, Fleet, agreement, settings};
use prism_fl::settings::privacy::Trust;
use prism_fl::settings::{Settings, TrainingMode, UpdateCodec};
use prism_fl::{Agreement, Randomness};

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
    let request = fleet.server.setup_request().unwrap().unwrap();
    for id in 0..CLIENTS {
        let reply = fleet.clients[id as usize].setup(&request, &()).unwrap();
        fleet.server.accept_setup(id, &reply).unwrap();
        assert!(fleet.server.accept_setup(id, &reply).unwrap_err().reason.contains("already answered"));
    }
    fleet.server.end_setup().unwrap();
    let mut reopened = open(&folder, agreement(one_shot(), Vec::new()));
    assert_ne!(reopened.server.setup_request().unwrap().unwrap(), request, "the thresholds are agreed on");
    reopened.set_up(&[0, 1, 2]);
    assert!(reopened.server.setup_request().unwrap().is_none());
    assert!(reopened.server.end_round(&()).unwrap().loss().is_some());
}

#[test]
fn a_noisy_reply_is_drawn_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut private = one_shot();
    (private.training.subclasses, private.privacy.epsilon) = (1, Some(100.0));
    private.privacy.trust = Trust::Secagg;
    private.privacy.delta = 1e-3;
    let mut fleet = open(&folder, agreement(private.clone(), Vec::new()));
    let request = fleet.server.setup_request().unwrap().unwrap();
    let first = fleet.clients[0].setup(&request, &()).unwrap();
    let mut reopened = open(&folder, agreement(private, Vec::new()));
    assert!(!reopened.clients[1].has_drawn());
    assert_eq!(reopened.clients[0].setup(&request, &()).unwrap(), first);
    assert!(reopened.clients[0].has_drawn());
}

#[test]
fn a_client_of_other_settings_or_a_damaged_request_is_refused_by_name() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fleet = open(&here, agreement(one_shot(), Vec::new()));
    let request = fleet.server.setup_request().unwrap().unwrap();
    let mut wider = one_shot();
    wider.model.ngf = 3;
    let mut other = open(&there, agreement(wider, Vec::new()));
    let why = other.clients[0].setup(&request, &()).unwrap_err().to_string();
    assert!(why.contains("the same settings"), "{why}");
    let mut own = open(&there, agreement(one_shot(), Vec::new()));
    for length in 0..request.len() {
        assert!(own.clients[0].setup(&request[..length], &()).is_err(), "{length} bytes");
    }
    for at in 0..request.len() {
        let mut flipped = request.clone();
        flipped[at] ^= 4;
        assert!(own.clients[0].setup(&flipped, &()).is_err(), "byte {at}");
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
