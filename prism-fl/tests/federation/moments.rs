//! `FORMAT.md` is enough to read a message of moments: a Python script written from it finds the same numbers.

use std::path::Path;
use std::process::Command;

use prism_core::npy;
use prism_core::stream::{Purpose, StreamId};
use prism_fl::moments::coded::layer::LayerShape;
use prism_fl::moments::message::Form;
use prism_fl::moments::statistics::{GroupStatistics, Statistics};
use prism_fl::privacy::message::encode_counts;

/// What the script exits with where NumPy is not installed.
const NOT_INSTALLED: i32 = 77;
/// Set where everything that the script needs is installed, so that a test which did not run is no test that passed.
const REQUIRED: &str = "PRISM_SECOND_READER_REQUIRED";
const SHAPES: [[usize; 3]; 3] = [[3, 8, 8], [4, 4, 4], [6, 1, 1]];

/// Sparse features, as encoders have them, of three classes of four subclasses, some of which are missing.
fn statistics() -> GroupStatistics {
    let mut stream = StreamId::new(1, Purpose::Test).open();
    let groups = [(0u32, 9), (1, 2), (2, 1), (5, 30), (7, 4), (8, 4), (11, 17)];
    let mut layer = |images: u32, features: usize| {
        let feature = |at: usize| -> [f32; 2] {
            let level = (at % 7) as f64 / 3.0 - 1.0;
            let x: Vec<f64> = (0..images).map(|_| (level + stream.normal()).max(0.0)).collect();
            let mean = x.iter().sum::<f64>() / f64::from(images);
            let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            [mean as f32, (squares / f64::from(images.max(2) - 1)) as f32]
        };
        let features: Vec<[f32; 2]> = (0..features).map(feature).collect();
        let part = |kind: usize| features.iter().map(|both| both[kind]).collect();
        Statistics { count: f64::from(images), mean: part(0), variance: part(1) }
    };
    groups.map(|(group, n)| (group, SHAPES.map(|[c, h, w]| layer(n, c * h * w)).to_vec())).into()
}

/// Runs the second reader on the message, form and numbers that lie in `folder`: it must succeed and say `words`. False where it
/// cannot run.
fn second_reader(folder: &Path, form: &str, words: &str) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/moments_reader.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(&python).current_dir(folder).arg(script).args(["message", form, "expected.npy"]).output();
    let why = match output {
        Ok(output) if output.status.code() != Some(NOT_INSTALLED) => {
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.contains(words), "{said}");
            return true;
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("{} does not run: {error}", python.display()),
    };
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set and the second reader did not run: {why}");
    eprintln!("\nSKIPPED: the second reader of moments did not run: {why}\n");
    false
}

/// Writes what the second reader is to read, and the numbers that it must find.
fn write(folder: &Path, message: &[u8], expected: &[f32]) {
    std::fs::write(folder.join("message"), message).unwrap();
    let expected = [npy::header(&[expected.len()]), npy::values(expected)].concat();
    std::fs::write(folder.join("expected.npy"), expected).unwrap();
}

#[test]
fn the_second_reader_finds_the_same_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut counts = vec![vec![0i64; 500]; 2];
    (0..300).for_each(|at| counts[at % 2][100 + at * 7 % 60] += 1 + (at as i64 % 5) * 40);
    let expected: Vec<f32> = counts.iter().flatten().map(|&count| count as f32).collect();
    write(folder.path(), &encode_counts(&counts), &expected);
    second_reader(folder.path(), "counts", "1000 counts");
}

#[test]
fn the_second_reader_finds_the_same_moments() {
    let folder = tempfile::tempdir().unwrap();
    let form = Form { groups: 12, subclasses: 4, layers: LayerShape::all(&SHAPES) };
    for most in [100_000, 1500, 400] {
        let message = form.encode(statistics(), most).unwrap();
        let found = form.decode(&message).unwrap();
        let of_layer = |layer: usize| {
            found.values().flat_map(move |layers| {
                let own = &layers[layer];
                let deviations = (0..own.mean.len()).map(|feature| own.deviation(feature) as f32);
                own.mean.iter().copied().chain(deviations).collect::<Vec<_>>()
            })
        };
        let expected: Vec<f32> = (0..SHAPES.len()).flat_map(of_layer).collect();
        write(folder.path(), &message, &expected);
        let layers: Vec<[usize; 2]> = SHAPES.iter().map(|&[channels, side, _]| [channels, side]).collect();
        let known = serde_json::json!({"groups": 12, "subclasses": 4, "layers": layers});
        std::fs::write(folder.path().join("form.json"), known.to_string()).unwrap();
        if !second_reader(folder.path(), "form.json", "moments of 7 groups") {
            return;
        }
    }
}
