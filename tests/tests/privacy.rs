//! Differential privacy as users meet it: what a protected run says, keeps, remembers and refuses.

use std::fs;
use std::path::Path;

use e2e::tiny::{aloud, tiny};
use e2e::{refused, run, succeed};

/// Enough images for their noise, and little training.
const SHORT: [&str; 6] = ["--limit", "400", "--rounds", "1", "--local-steps", "1"];
const PROTECTED: [&str; 6] = ["--dp-epsilon", "20", "--dp-delta", "1e-4", "--dp-features", "grid:2"];

fn train(folder: &Path, more: &[&str]) -> String {
    succeed("prism-train", folder, &tiny(&[&SHORT[..], &PROTECTED[..], more].concat()))
}

fn ledger(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("privacy-ledger.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_protected_run_carries_its_promise_and_draws_once() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &["--out", "run"]);
    let path = |name: &str| folder.path().join("run").join(name);
    let claim: serde_json::Value = serde_json::from_slice(&fs::read(path("privacy.json")).unwrap()).unwrap();
    assert_eq!((claim["epsilon"].as_f64(), claim["delta"].as_f64()), (Some(20.0), Some(1e-4)));
    assert_eq!(claim["images"], 400);
    let info = succeed("prism-infer", folder.path(), &["info", "--model", "run/model.safetensors.zst"]);
    assert!(info.contains("(epsilon = 20, delta = 1e-4)-differential privacy"), "{info}");
    assert_eq!(ledger(folder.path()).len(), 1);

    let moments = ["clients/0000/moments.safetensors", "clients/0001/moments.safetensors"];
    let before = moments.map(|name| fs::read(path(name)).unwrap());
    succeed("prism-train", folder.path(), &["--resume", "run", "--rounds", "2", "--quiet"]);
    assert_eq!(before, moments.map(|name| fs::read(path(name)).unwrap()), "a resumed run draws nothing");
    assert_eq!(ledger(folder.path()).len(), 1);
}

/// The lines of a run's `metrics.jsonl`.
fn rounds(folder: &Path, run: &str) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn subclasses_are_divided_once_within_the_promise() {
    let folder = tempfile::tempdir().unwrap();
    for (run, more) in [
        ("local", &["--dp-trust", "local"][..]),
        ("secagg", &["--dp-trust", "secagg"]),
        ("one-shot", &["--dp-trust", "secagg", "--mode", "one-shot"]),
    ] {
        let ledger = format!("{run}.jsonl");
        train(folder.path(), &[&["--out", run, "--subclasses", "2", "--dp-ledger", &ledger], more].concat());
        let path = folder.path().join(run);
        let claim: serde_json::Value = serde_json::from_slice(&fs::read(path.join("privacy.json")).unwrap()).unwrap();
        assert!(claim["mechanism"].as_str().unwrap().contains("where classes divide into subclasses"), "{claim}");
        let entries = fs::read_to_string(folder.path().join(&ledger)).unwrap();
        let entry: serde_json::Value = serde_json::from_str(entries.trim()).unwrap();
        assert_eq!(entry["rho"], claim["rho"], "one entry for both releases");

        let thresholds = fs::read(path.join("shared/setup.json")).unwrap();
        succeed("prism-train", folder.path(), &["--resume", run, "--rounds", "2", "--quiet"]);
        assert_eq!(thresholds, fs::read(path.join("shared/setup.json")).unwrap(), "{run}: a resumed run draws nothing");
        assert_eq!(entries, fs::read_to_string(folder.path().join(&ledger)).unwrap());
        let sent: Vec<u64> =
            rounds(folder.path(), run).iter().map(|round| round["uplink_bytes"].as_u64().unwrap()).collect();
        assert!(sent[0] > sent[1], "{run}: what is sent before the first round counts in it: {sent:?}");
    }
}

#[test]
fn mean_squares_are_matched_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &["--out", "run", "--objective", "mean-squares"]);
    let moments = || fs::read(folder.path().join("run/clients/0000/moments.safetensors")).unwrap();
    let before = moments();
    let header = String::from_utf8_lossy(&before[..4096]);
    assert!(header.contains("\"square.0\"") && !header.contains("\"variance.0\""), "{header}");
    succeed("prism-train", folder.path(), &["--resume", "run", "--rounds", "2", "--quiet"]);
    assert!(before == moments());
}

#[test]
fn noise_never_comes_from_the_seed_and_a_second_draw_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &["--out", "one"]);
    let aloud = aloud(&[&SHORT[..], &PROTECTED[..], &["--out", "two"]].concat());
    let output = run("prism-train", folder.path(), &aloud);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("WARNING") && stderr.contains("1 earlier draw"), "{stderr}");
    assert!(stderr.contains("privacy: (epsilon = 20"), "the promise comes before training: {stderr}");
    let read = |run: &str| fs::read(folder.path().join(run).join("clients/0000/moments.safetensors")).unwrap();
    assert_ne!(read("one"), read("two"), "same settings and seed, other noise");
    assert_eq!(ledger(folder.path()).len(), 2);
}

#[test]
fn a_promise_may_be_of_several_images_and_count_on_some_of_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let weak = ["--dp-epsilon", "100", "--dp-trust"];
    train(folder.path(), &[&weak[..], &["secagg", "--out", "one", "--dp-ledger", "other.jsonl"]].concat());
    let several = ["secagg:0.5", "--dp-adjacency", "replace:3"];
    train(folder.path(), &[&weak[..], &several[..], &["--out", "several"]].concat());
    let [one, several] = ["one", "several"].map(|run| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.path().join(run).join("privacy.json")).unwrap()).unwrap()
    });
    assert_eq!((&several["adjacency"], &several["trust"]), (&"replace:3".into(), &"secagg:0.5".into()));
    let [one, several] = [one, several].map(|claim| claim["noise_multiplier"].as_f64().unwrap());
    assert!((one / several - 1.0).abs() < 1e-4, "times another sensitivity, of other clients: {one} and {several}");
    let info = succeed("prism-infer", folder.path(), &["info", "--verify", "--model", "several/model.safetensors.zst"]);
    assert!(info.contains("any 3 images together, replace:3, trust secagg:0.5"), "{info}");
    assert!(info.contains("any 3 images and their labels together") && info.contains("50% are counted on"), "{info}");
    // A draw of one image is brought to the meaning of the other.
    let again = aloud(&[&SHORT[..], &PROTECTED[..], &weak[..], &["secagg", "--out", "again"]].concat());
    let said = run("prism-train", folder.path(), &again).stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("1 earlier draw") && said.contains("for any 3 images together, replace:3"), "{said}");
}

#[test]
fn an_unprotected_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = run("prism-train", folder.path(), &aloud(&[&SHORT[..], &["--out", "run"]].concat()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("privacy: none"));
    assert!(!folder.path().join("privacy-ledger.jsonl").exists());
    let info = succeed("prism-infer", folder.path(), &["info", "--model", "run/model.safetensors.zst"]);
    assert!(info.contains("privacy        none"), "{info}");
}

#[test]
fn impossible_promises_are_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, words) in [
        (&["--dp-epsilon", "0"][..], ["--dp-epsilon is 0", "above 0"]),
        (&["--dp-epsilon", "-1"], ["--dp-epsilon is -1", "above 0"]),
        (&["--dp-epsilon", "NaN"], ["--dp-epsilon is NaN", "above 0"]),
        (&["--dp-epsilon", "1", "--dp-delta", "0"], ["--dp-delta is 0", "above 0"]),
        (&["--dp-epsilon", "1", "--dp-delta", "1"], ["--dp-delta is 1", "below 1"]),
        (&["--dp-epsilon", "1", "--dp-delta", "6e-4"], ["200 images of client 0", "choose at most 5.0e-4"]),
        (&["--dp-epsilon", "0.05", "--dp-delta", "1e-4"], ["client 0 holds 200 images", "secagg"]),
        (&["--dp-epsilon", "1e-9", "--dp-delta", "1e-4"], ["too few", "larger epsilon"]),
        (
            &["--dp-epsilon", "20", "--subclasses", "2", "--dp-mechanism", "mask"],
            ["--subclasses is 2", "--subclasses 1"],
        ),
        (&["--dp-features", "pooled"], ["no noise would be added", "--dp-epsilon"]),
        (&["--dp-trust", "secagg"], ["no noise would be added", "--dp-epsilon"]),
    ] {
        refused("prism-train", folder.path(), &tiny(&[&SHORT[..], arguments].concat()), 2, &words);
    }
    assert!(!folder.path().join("runs").exists(), "a refused run leaves nothing behind");
}

#[test]
fn raw_moments_never_pass_for_protected_ones() {
    let folder = tempfile::tempdir().unwrap();
    succeed("prism-train", folder.path(), &tiny(&[&SHORT[..], &["--out", "run"]].concat()));
    let settings = folder.path().join("run/settings.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("[privacy]\n", "[privacy]\nepsilon = 20.0\n")).unwrap();
    let resume = ["--resume", "run", "--quiet"];
    refused("prism-train", folder.path(), &resume, 2, &["privacy statement", "none"]);
    fs::remove_file(folder.path().join("run/checkpoint.safetensors")).unwrap();
    refused("prism-train", folder.path(), &resume, 2, &["moments.safetensors", "other privacy"]);
    assert!(!folder.path().join("privacy-ledger.jsonl").exists(), "nothing was drawn");
}

#[test]
fn one_shot_sends_one_message_and_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for trust in ["local", "secagg"] {
        let more = ["--dp-trust", trust, "--mode", "one-shot", "--out", trust];
        train(folder.path(), &more);
        let copy = format!("{trust}-copy");
        copy_folder(&folder.path().join(trust), &folder.path().join(&copy));
        succeed("prism-train", folder.path(), &["--resume", trust, "--rounds", "3", "--quiet"]);
        for rounds in ["2", "3"] {
            succeed(
                "prism-train",
                folder.path(),
                &["--resume", &copy, "--rounds", rounds, "--threads", "1", "--quiet"],
            );
        }
        let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors.zst")).unwrap();
        assert!(model(trust) == model(&copy), "{trust}: resumed in two steps on one thread");
        let sent: Vec<u64> =
            rounds(folder.path(), trust).iter().map(|round| round["uplink_bytes"].as_u64().unwrap()).collect();
        assert!(sent[0] > 1000 && sent[1..] == [0, 0], "{trust}: {sent:?}");
    }
}

#[test]
fn one_shot_works_without_privacy_and_secagg_with_rounds() {
    let folder = tempfile::tempdir().unwrap();
    succeed(
        "prism-train",
        folder.path(),
        &tiny(&[&SHORT[..], &["--mode", "one-shot", "--objective", "moments-sketches", "--out", "plain"]].concat()),
    );
    succeed("prism-train", folder.path(), &["--resume", "plain", "--rounds", "2", "--quiet"]);
    copy_folder(&folder.path().join("plain"), &folder.path().join("again"));
    fs::remove_file(folder.path().join("again/checkpoint.safetensors")).unwrap();
    succeed("prism-train", folder.path(), &["--resume", "again", "--quiet"]);
    assert_eq!(rounds(folder.path(), "again")[0]["uplink_bytes"], rounds(folder.path(), "plain")[0]["uplink_bytes"]);
    let sent: Vec<u64> =
        rounds(folder.path(), "plain").iter().map(|round| round["uplink_bytes"].as_u64().unwrap()).collect();
    assert!(sent[0] > 1000 && sent[1] == 0, "each client sends its moments once: {sent:?}");
    train(folder.path(), &["--dp-trust", "secagg", "--dp-adjacency", "add-remove", "--out", "rounds"]);
    assert!(folder.path().join("rounds/shared/moments.safetensors").exists());
    let of_client =
        |client: &str| fs::read(folder.path().join("rounds/clients").join(client).join("moments.safetensors"));
    assert_eq!(of_client("0000").unwrap().len(), of_client("0001").unwrap().len(), "all train on the one sum");
}

#[test]
fn other_trainings_take_the_moments_of_one_draw() {
    let folder = tempfile::tempdir().unwrap();
    let shared = ["--dp-trust", "secagg", "--mode", "one-shot", "--subclasses", "2"];
    let path = |name: &str| folder.path().join(name);
    train(folder.path(), &[&shared[..], &["--out", "drawn"]].concat());
    let reuse = [&shared[..], &["--moments-from", "drawn"]].concat();
    train(folder.path(), &[&reuse[..], &["--out", "same"]].concat());
    train(folder.path(), &[&reuse[..], &["--components", "2", "--local-steps", "2", "--out", "other"]].concat());
    assert_eq!(ledger(folder.path()).len(), 1, "nothing was drawn again");
    for run in ["same", "other"] {
        for name in ["shared/moments.safetensors", "shared/setup.json", "privacy.json"] {
            assert!(
                fs::read(path("drawn").join(name)).unwrap() == fs::read(path(run).join(name)).unwrap(),
                "{run}: {name}"
            );
        }
    }
    let model = |run: &str| fs::read(path(run).join("model.safetensors.zst")).unwrap();
    assert!(model("drawn") == model("same"), "all but the moments is as in any run");
    assert!(model("drawn") != model("other"));

    fs::create_dir(path("nothing")).unwrap();
    for (from, more, words) in [
        ("drawn", &["--seed", "1"][..], ["drawn/", "other images"]),
        ("drawn", &["--limit", "399"], ["drawn/", "other images"]),
        ("drawn", &["--dp-epsilon", "30"], ["drawn/shared/moments.safetensors", "other privacy"]),
        ("drawn", &["--subclasses", "4"], ["drawn/shared/moments.safetensors", "subclasses"]),
        ("drawn", &["--dp-trust", "local", "--mode", "rounds"], ["drawn/", "other privacy"]),
        ("nothing", &[], ["nothing holds no run", "settings.toml"]),
    ] {
        let flags = [&SHORT[..], &PROTECTED[..], &shared[..], &["--moments-from", from, "--out", "new"], more].concat();
        refused("prism-train", folder.path(), &tiny(&flags), 2, &words);
        assert!(!path("new").exists(), "{more:?}: a refused run leaves nothing behind");
    }
    assert_eq!(ledger(folder.path()).len(), 1);
}

#[test]
fn moments_without_noise_are_reused_too_and_damaged_ones_refused() {
    fn plain<'a>(more: &[&'a str]) -> Vec<&'a str> {
        tiny(&[&SHORT[..], &["--mode", "one-shot", "--subclasses", "2"], more].concat())
    }
    let folder = tempfile::tempdir().unwrap();
    let model = |run: &str| fs::read(folder.path().join(run).join("model.safetensors.zst")).unwrap();
    succeed("prism-train", folder.path(), &plain(&["--out", "drawn"]));
    succeed("prism-train", folder.path(), &plain(&["--moments-from", "drawn", "--out", "same"]));
    assert!(model("drawn") == model("same"));

    let protected = [&PROTECTED[..], &["--moments-from", "drawn", "--out", "new"]].concat();
    refused(
        "prism-train",
        folder.path(),
        &plain(&protected),
        2,
        &["drawn/shared/moments.safetensors", "other privacy"],
    );
    let moments = folder.path().join("drawn/shared/moments.safetensors");
    let whole = fs::read(&moments).unwrap();
    let again = plain(&["--moments-from", "drawn", "--out", "new"]);
    fs::write(&moments, &whole[..whole.len() / 2]).unwrap();
    refused("prism-train", folder.path(), &again, 1, &["feature moments", "moments.safetensors"]);
    fs::remove_file(&moments).unwrap();
    refused("prism-train", folder.path(), &again, 2, &["drawn has no moments", "2 clients"]);
    assert!(!folder.path().join("new").exists(), "a refused run leaves nothing behind");
}

#[test]
fn the_audit_passes_and_speaks_json() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["audit", "--epsilon", "10", "--shares", "2", "--releases", "2"];
    let json = succeed("prism-train", folder.path(), &[&arguments[..], &["--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["passed"], true);
    let caught = |findings: &serde_json::Value| {
        let violations = findings.as_array().unwrap().iter().map(|finding| finding["violation"].as_bool().unwrap());
        violations.collect::<Vec<_>>()
    };
    assert_eq!(caught(&report["replay"]), [vec![false], vec![true; 8]].concat(), "every planted fault is caught");
    assert_eq!(caught(&report["canaries"]), [false, true], "a release without noise is caught");
    train(folder.path(), &["--out", "run"]);
    let of_run = [&arguments[..], &["--run", "run", "--images=200"]].concat();
    let text = succeed("prism-train", folder.path(), &of_run);
    assert!(text.contains("nearest real image was trained on") && text.contains("passed"), "{text}");
    refused("prism-train", folder.path(), &["audit", "--epsilon", "-1"], 2, &["epsilon is -1"]);
    refused("prism-train", folder.path(), &["audit", "--releases", "1"], 2, &["--releases is 1", "2 to 10000"]);
    refused("prism-train", folder.path(), &["audit", "--adjacency", "replace:2"], 2, &["--adjacency is replace:2"]);
}

#[test]
fn the_papers_own_mechanism_can_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let mask = ["--dp-epsilon", "10", "--dp-mechanism", "mask"];
    succeed("prism-train", folder.path(), &tiny(&[&SHORT[..], &mask[..], &["--out", "run"]].concat()));
    let info = succeed("prism-infer", folder.path(), &["info", "--model", "run/model.safetensors.zst"]);
    assert!(info.contains("all images of one client") && info.contains("each of 1 rounds"), "{info}");
    assert_eq!(ledger(folder.path()).len(), 1);
    // A loss is of the images themselves, so the client keeps it.
    let round = &rounds(folder.path(), "run")[0];
    assert!(round["loss"].is_null() && round["kl_bits_per_weight"].as_f64().unwrap() > 0.0, "{round}");
    succeed("prism-train", folder.path(), &["report", "run"]);
    // More rounds would be another promise.
    let more = ["--resume", "run", "--rounds", "2", "--quiet"];
    refused("prism-train", folder.path(), &more, 2, &["privacy statement", "2 rounds"]);
    for other in [["--dp-trust", "secagg"], ["--dp-features", "pooled"], ["--mode", "one-shot"], ["--dp-delta", "0.6"]]
    {
        refused(
            "prism-train",
            folder.path(),
            &tiny(&[&SHORT[..], &mask[..], &other[..]].concat()),
            2,
            &["--dp-mechanism mask"],
        );
    }
}

#[test]
fn no_draw_is_spent_on_a_run_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (more, word) in [
        (&["--objective", "moving-average", "--classes-per-step", "2"][..], "--classes-per-step"),
        (&["--codec", "sums", "--alpha", "0.5"], "--alpha 0"),
        (&["--classes-per-step", "1152921504606846976"], "1 to 1000"),
    ] {
        let flags = tiny(&[&SHORT[..], &PROTECTED[..], more, &["--out", "run"]].concat());
        refused("prism-train", folder.path(), &flags, 2, &[word]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{more:?}: neither a run nor a ledger");
    }
}

#[test]
fn the_ledger_lies_beside_the_run_however_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &["--out", "run"]);
    let run = folder.path().join("run");
    // Without its moments the run must draw again.
    fs::remove_file(run.join("clients/0000/moments.safetensors")).unwrap();
    succeed("prism-train", &run, &["--resume", ".", "--rounds", "2", "--quiet"]);
    assert!(!run.join("privacy-ledger.jsonl").exists());
    assert_eq!(ledger(folder.path()).len(), 2);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
