//! Hostile and faulty clients: what the server refuses, by name, while the round goes on; and that everybody's copy of the
//! global scores stays the server's, to the bit, whatever was lost and whoever was killed.

use std::cell::RefCell;
use std::sync::Arc;

use crate::fleet::{CLIENTS, Fleet, agreement, images, settings};
use prism_fl::client_state::StateFolder;
use prism_fl::global_state::GlobalState;
use prism_fl::local_step::ClientRound;
use prism_fl::privacy::ledger::{self, Ledger};
use prism_fl::settings::UpdateCodec;
use prism_fl::settings::privacy::Mechanism;
use prism_fl::wire::{Broadcast, HEADER_BYTES, Header, Session};
use prism_fl::{Client, Randomness, RoundReport, replay};

const CODECS: [UpdateCodec; 4] = [UpdateCodec::Flips, UpdateCodec::Raw, UpdateCodec::Mrc, UpdateCodec::Sums];

fn session(codec: UpdateCodec, score_layers: usize) -> Session {
    let arch = agreement(settings(codec), Vec::new()).architecture();
    let session = Session::new(&arch, crate::fleet::SEED, score_layers).unwrap();
    session.with_codecs(codec.uplink(), codec.downlink())
}

/// The first round of a federation under minimal random coding whose client 1 sends what `forge` makes of its update.
fn round_with(forge: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + 'static) -> RoundReport {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(UpdateCodec::Mrc);
    settings.wire.alpha = 0.2;
    let fault = move |turn: ClientRound, bytes| if turn.client == 1 { forge(bytes) } else { vec![bytes] };
    Fleet::open(folder.path(), settings).with_fault(fault).round()
}

/// Seals the payload of `message` as an update of another session, round or client, with a right checksum.
fn resealed(session: &Session, turn: ClientRound, message: &[u8]) -> Vec<u8> {
    Header::update(session, turn.round, turn.client).seal(&message[HEADER_BYTES..])
}

#[test]
fn a_hostile_client_is_refused_by_name_and_the_round_goes_on() {
    type Forgery = fn(Vec<u8>) -> Vec<u8>;
    const TURN: ClientRound = ClientRound { round: 1, client: 1 };
    let forgeries: [(&str, Forgery); 9] = [
        ("bytes and a header alone", |_| Vec::new()),
        ("does not begin with `PRSM`", |bytes| vec![0xA5; bytes.len()]),
        ("checksum is wrong", |mut bytes| {
            bytes[HEADER_BYTES] ^= 1;
            bytes
        }),
        ("round is 7", |bytes| resealed(&session(UpdateCodec::Mrc, 1), ClientRound { round: 7, ..TURN }, &bytes)),
        ("client is 2", |bytes| resealed(&session(UpdateCodec::Mrc, 1), ClientRound { client: 2, ..TURN }, &bytes)),
        ("score layers is 0", |bytes| resealed(&session(UpdateCodec::Mrc, 0), TURN, &bytes)),
        ("codec is Raw", |bytes| resealed(&session(UpdateCodec::Raw, 1), TURN, &bytes)),
        ("architecture", |bytes| {
            let mut wider = settings(UpdateCodec::Mrc);
            wider.model.ngf = 3;
            let session = Session::new(&agreement(wider, Vec::new()).architecture(), crate::fleet::SEED, 1).unwrap();
            let codec = UpdateCodec::Mrc;
            resealed(&session.with_codecs(codec.uplink(), codec.downlink()), TURN, &bytes)
        }),
        ("code ends", |mut bytes| {
            // A payload of noise under a header that is right in every field.
            let end = bytes.len();
            bytes.drain(HEADER_BYTES + 6..HEADER_BYTES + 16.min(end - HEADER_BYTES));
            resealed(&session(UpdateCodec::Mrc, 1), TURN, &bytes)
        }),
    ];
    for (reason, forge) in forgeries {
        let round = round_with(move |bytes| vec![forge(bytes)]);
        assert_eq!(round.answered, [0, 2], "{reason}");
        assert_eq!(round.refused.len(), 1, "{reason}");
        assert_eq!(round.refused[0].client, 1);
        let found = &round.refused[0].reason;
        assert!(found.contains(reason) || reason == "code ends", "expected '{reason}' in '{found}'");
        assert!(round.lambda.is_some() && round.loss().is_some());
    }
}

#[test]
fn a_repeated_answer_counts_once() {
    let round = round_with(|bytes| vec![bytes.clone(), bytes]);
    assert_eq!(round.answered, [0, 1, 2]);
    assert_eq!(round.refused.len(), 1);
    assert!(round.refused[0].reason.contains("already answered in round 1"), "{}", round.refused[0].reason);
}

#[test]
fn an_answer_kept_from_the_round_before_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let kept = RefCell::new(Vec::new());
    let fault = move |turn: ClientRound, bytes: Vec<u8>| match (turn.client, turn.round) {
        (1, 1) => {
            *kept.borrow_mut() = bytes.clone();
            vec![bytes]
        }
        (1, _) => vec![kept.borrow().clone()],
        _ => vec![bytes],
    };
    let mut fleet = Fleet::open(folder.path(), settings(UpdateCodec::Raw)).with_fault(fault);
    assert_eq!(fleet.round().answered, [0, 1, 2]);
    let second = fleet.round();
    assert_eq!(second.answered, [0, 2]);
    assert!(second.refused[0].reason.contains("round is 1 and the receiver waits for 2"));
}

#[test]
fn whoever_is_away_or_silent_is_missing_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let silent = |turn: ClientRound, bytes: Vec<u8>| if turn.client == 1 { vec![] } else { vec![bytes] };
    let mut fleet = Fleet::open(folder.path(), settings(UpdateCodec::Raw)).with_fault(silent);
    assert_eq!(fleet.round().missing(), [1]);
    fleet.server.ask(&[2]).unwrap();
    assert_eq!(fleet.server.end_round(&()).unwrap().missing(), [0, 1, 2]);
    // Where enough are there for the cohort, nobody else is due.
    let (other, mut few) = (tempfile::tempdir().unwrap(), settings(UpdateCodec::Raw));
    few.federation.fraction = 0.5;
    let mut fleet = Fleet::open(other.path(), few);
    let asked = fleet.server.ask(&[0, 1]).unwrap();
    assert!(asked.len() < 3 && fleet.server.end_round(&()).unwrap().missing() == asked);
}

/// Client 0's answers are lost in rounds 2 to 4, client 1's in round 3, everybody's in round 5.
fn some_are_lost(turn: ClientRound, bytes: Vec<u8>) -> Vec<Vec<u8>> {
    match (turn.client, turn.round) {
        (0, 2..=4) | (1, 3) | (_, 5) => vec![],
        _ => vec![bytes],
    }
}

#[test]
fn everybody_holds_the_server_s_scores_to_the_bit_whatever_was_lost() {
    for (codec, alpha) in
        [(UpdateCodec::Mrc, 0.0), (UpdateCodec::Mrc, 0.4), (UpdateCodec::Flips, 0.4), (UpdateCodec::Sums, 0.0)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(codec);
        settings.wire.alpha = alpha;
        let mut fleet = Fleet::open(folder.path(), settings).with_fault(some_are_lost);
        for number in 1..=7 {
            let before = fleet.digest();
            let report = fleet.round();
            // Of three clients a secure sum takes two, and in round 3 one is left.
            let silent = number == 5 || number == 3 && codec == UpdateCodec::Sums;
            assert_eq!(
                (report.lambda.is_none(), report.failed.is_some()),
                (silent, silent && codec == UpdateCodec::Sums)
            );
            // What each client that answered was told is what the server held when it asked.
            for &client in &report.answered {
                let states = StateFolder::new(folder.path().join(format!("clients/{client:04}")));
                let global = states.load_global(number, fleet.context.session(), true).unwrap();
                assert_eq!(global.digest(), before, "{codec} {alpha}: client {client} in round {number}");
            }
        }
        assert_eq!(fleet.server.last_rounds(), [7, 7, 7]);
    }
}

#[test]
fn clients_and_server_that_are_killed_after_every_round_end_at_the_same_bytes() {
    for codec in CODECS {
        let (kept, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut whole = Fleet::open(kept.path(), settings(codec)).with_fault(some_are_lost);
        for _ in 1..=6 {
            let expected = whole.round();
            // Everything is opened anew, as by other processes.
            let report = Fleet::open(killed.path(), settings(codec)).with_fault(some_are_lost).round();
            assert_eq!(report.traffic, expected.traffic, "{codec}");
        }
        let reopened = Fleet::open(killed.path(), settings(codec));
        assert_eq!(reopened.server.scores(), whole.server.scores(), "{codec}");
        assert_eq!(reopened.server.last_rounds(), whole.server.last_rounds());
    }
}

#[test]
fn a_client_that_lost_its_folder_takes_a_snapshot_and_goes_on() {
    for codec in CODECS {
        let folder = tempfile::tempdir().unwrap();
        Fleet::open(folder.path(), settings(codec)).round();
        Fleet::open(folder.path(), settings(codec)).round();
        let client = folder.path().join("clients/0001");
        // Under secure sums others know it by its key, of which it has a copy.
        let key = std::fs::read(client.join("identity.key"));
        std::fs::remove_dir_all(&client).unwrap();
        if let Ok(key) = key {
            std::fs::create_dir(&client).unwrap();
            std::fs::write(client.join("identity.key"), key).unwrap();
        }
        let report = Fleet::open(folder.path(), settings(codec)).round();
        assert_eq!(report.answered, [0, 1, 2], "{codec}: {:?}", report.refused);
    }
}

#[test]
fn a_client_that_missed_much_takes_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let lost = |turn: ClientRound, bytes| if turn.client == 0 && turn.round < 9 { vec![] } else { vec![bytes] };
    let mut fleet = Fleet::open(folder.path(), settings(UpdateCodec::Mrc)).with_fault(lost);
    let mut sizes = Vec::new();
    for _ in 1..=9 {
        sizes.push(fleet.server.broadcast(0).bytes.len());
        assert!(fleet.round().refused.is_empty());
    }
    let snapshot = fleet.server.snapshot(0).bytes.len();
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2], "records add up: {sizes:?}");
    assert!(sizes.iter().all(|&size| size < snapshot + snapshot / 4), "{sizes:?} beside a snapshot of {snapshot}");
}

#[test]
fn a_client_whose_mask_is_noised_tells_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(UpdateCodec::Raw);
    (settings.privacy.epsilon, settings.privacy.mechanism) = (Some(10.0), Mechanism::Mask);
    settings.federation.rounds = 1;
    let round = Fleet::open(folder.path(), settings).round();
    assert_eq!((round.answered.clone(), round.loss()), (vec![0, 1, 2], None));
}

#[test]
fn noise_on_a_mask_is_drawn_once_a_round_and_for_the_rounds_that_were_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(UpdateCodec::Raw);
    (settings.privacy.epsilon, settings.privacy.mechanism) = (Some(10.0), Mechanism::Mask);
    settings.federation.rounds = 1;
    let mut fleet = Fleet::open(folder.path(), settings.clone());
    let state = folder.path().join("site");
    let open = |limit| {
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), limit);
        Client::open(Arc::clone(&fleet.context), 0, images(0), &state).with_ledger(ledger)
    };
    let why = |result: prism_fl::Result<_>| result.map(drop).unwrap_err().to_string();
    fleet.server.ask(&[0, 1, 2]).unwrap();
    let broadcast = fleet.server.broadcast(0).bytes;
    assert!(
        why(open(Some(9.0)).round(&broadcast, &())).contains("`total-epsilon` 9"),
        "nothing is drawn beyond the limit"
    );
    let first = open(None).round(&broadcast, &()).unwrap().update;
    for _ in 0..2 {
        assert_eq!(open(None).round(&broadcast, &()).unwrap().update, first, "no second noise");
    }
    assert_eq!(ledger::read(&folder.path().join("ledger.jsonl")).unwrap().len(), 1);
    let mut client = open(None);
    fleet.round();
    fleet.server.ask(&[0, 1, 2]).unwrap();
    let later = fleet.server.broadcast(0).bytes;
    assert!(why(client.round(&later, &())).contains("asks for round 2, and epsilon was agreed on for 1 rounds"));
}

#[test]
fn the_system_s_randomness_gives_other_masks_that_are_as_good() {
    let run = || {
        let folder = tempfile::tempdir().unwrap();
        let agreement = agreement(settings(UpdateCodec::Raw), Vec::new());
        let mut fleet = Fleet::open_with(folder.path(), agreement, Randomness::System);
        fleet.round();
        fleet.digest()
    };
    assert_ne!(run(), run());
}

#[test]
fn secure_sums_lead_to_the_scores_of_open_differences_whoever_is_lost() {
    let run = |codec| {
        let folder = tempfile::tempdir().unwrap();
        let lost = |turn: ClientRound, bytes: Vec<u8>| match (turn.client, turn.round) {
            (1, 2) | (_, 4) => vec![],
            (0, 3) => vec![vec![0; bytes.len()]],
            _ => vec![bytes],
        };
        let mut fleet = Fleet::open(folder.path(), settings(codec)).with_fault(lost);
        let sizes: Vec<u64> = (1..=5).map(|_| fleet.round().traffic.uplink_bytes).collect();
        (fleet.digest(), sizes)
    };
    let ((open, open_sizes), (sums, sizes)) = (run(UpdateCodec::Flips), run(UpdateCodec::Sums));
    assert_eq!(open, sums);
    // Three clients' sums take two bits, and in every round each sends keys, shares, a signature and what it unmasks with.
    assert!(
        sizes[0] > open_sizes[0] + 3 * 160 && sizes[1] > open_sizes[1] + 3 * 160,
        "{sizes:?} against {open_sizes:?}"
    );
}

/// Client 1 is lost before its input in the first three rounds, and after it in the next two: then its answer counts.
#[test]
fn a_client_may_be_lost_in_any_exchange_of_a_secure_sum() {
    let run = |codec| {
        let folder = tempfile::tempdir().unwrap();
        let lost = move |turn: ClientRound, bytes| match (turn.client, turn.round, codec) {
            (1, 3, _) | (1, 1 | 2, UpdateCodec::Flips) => vec![],
            _ => vec![bytes],
        };
        let arrives = |title: &str, turn: ClientRound| {
            turn.client != 1
                || !matches!((turn.round, title), (1, "keys") | (2, "shares") | (4, "survivors") | (5, "unmask"))
        };
        let mut answered = Vec::new();
        for _ in 1..=6 {
            // Everything is opened anew in every round, as by other processes.
            let report = Fleet::open(folder.path(), settings(codec)).with_fault(lost).with_losses(arrives).round();
            assert_eq!(report.failed, None);
            answered.push(report.answered);
        }
        (Fleet::open(folder.path(), settings(codec)).digest(), answered)
    };
    let sums = run(UpdateCodec::Sums);
    assert_eq!(sums.1[3..], [[0, 1, 2], [0, 1, 2], [0, 1, 2]]);
    assert_eq!(run(UpdateCodec::Flips), sums);
}

/// Everything is stopped after each exchange of a round, and after its answers. Until these are complete a round begins anew, and
/// from then on it goes on where it stood.
#[test]
fn a_server_that_is_stopped_anywhere_in_a_round_of_secure_sums_ends_at_the_same_bytes() {
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut fleet = Fleet::open(whole.path(), settings(UpdateCodec::Sums));
    let expected = fleet.round();
    for stop in [1, 2, 3, 1, 1] {
        let mut fleet = Fleet::open(killed.path(), settings(UpdateCodec::Sums));
        fleet.stop_after = Some(stop);
        assert!(fleet.begin_round().is_none(), "stopped after {stop}");
    }
    let mut resumed = Fleet::open(killed.path(), settings(UpdateCodec::Sums));
    let report = resumed.round();
    assert_eq!((report.answered, report.traffic), (expected.answered, expected.traffic));
    assert_eq!(resumed.server.scores(), fleet.server.scores());
}

#[test]
fn an_input_that_is_no_mask_costs_the_round_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    // Numbers of two bits hold the votes 0 to 3; with one client lost, a 3 is impossible and tells of a forgery.
    let forged = |turn: ClientRound, mut bytes: Vec<u8>| match (turn.client, turn.round) {
        (0, 1) => vec![],
        (1, 1) => {
            let last = bytes.len() - 1;
            bytes[HEADER_BYTES + 4..last].iter_mut().for_each(|byte| *byte ^= 0x5A);
            vec![resealed(&session(UpdateCodec::Sums, 0), turn, &bytes)]
        }
        _ => vec![bytes],
    };
    let mut fleet = Fleet::open(folder.path(), settings(UpdateCodec::Sums)).with_fault(forged);
    let before = fleet.server.scores().to_vec();
    assert!(fleet.round().lambda.is_none());
    assert_eq!(fleet.server.scores(), before);
    let second = fleet.round();
    assert_eq!((second.answered.clone(), second.lambda.is_some()), (vec![0, 1, 2], true));
}

#[test]
fn a_client_with_other_scores_notices() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::open(folder.path(), settings(UpdateCodec::Mrc));
    fleet.round();
    fleet.server.ask(&[0]).unwrap();
    let (bytes, session) = (fleet.server.broadcast(0).bytes, fleet.context.session());
    let receive_of = |asked, mada, at: Option<&GlobalState>| {
        let mut state = at.cloned().unwrap_or_else(|| GlobalState::initial(session.clone(), mada));
        let (round, broadcast) = Broadcast::decode(&bytes, session).unwrap();
        replay::receive(&mut state, broadcast, round, asked).map(|()| state)
    };
    let receive = |mada, at: Option<&GlobalState>| receive_of(CLIENTS, mada, at);
    let good = receive(true, None).unwrap();
    assert_eq!(good.digest(), fleet.digest());
    // One that does not average as the server does ends elsewhere; one that is a round ahead cannot go on from there.
    let plain = receive(false, None).unwrap_err().to_string();
    assert!(plain.contains("another state"), "{plain}");
    let ahead = receive(true, Some(&good)).unwrap_err().to_string();
    assert!(ahead.contains("after round 0"), "{ahead}");
    // More masks than a round has are not drawn at all.
    let many = receive_of(CLIENTS - 1, true, None).unwrap_err().to_string();
    assert!(many.contains("updates of 3 clients in round 1 and the settings ask 2"), "{many}");
}
