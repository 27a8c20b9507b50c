//! `privacy-ledger.jsonl`: every draw of noise on anybody's images, one JSON object a line, written before the noise is drawn.
//!
//! Two releases on the same images protect less than one ([`super::composition`]). The ledger is what remembers it. It knows images by hashes of
//! single ones under a key of its own (`privacy-ledger.key` beside it), so that a selection, or one image fewer, is still the same
//! data, and a ledger that gets lost tells nobody which images there were. Images at another size are others to it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prism_core::privacy::Total;
use prism_core::{Error, Result, file};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PrivacyGuarantee;
use super::composition::{Draw, total};
use crate::strata::ClientData;

/// Most bytes that a ledger may have.
const MAX_BYTES: u64 = 1 << 28;

/// Hashes that an entry keeps: of two sets of which one is a thousandth of the other, sixteen are in both on average, and none
/// are once in nine million times (e^16).
const KEPT_HASHES: usize = 16_384;

/// A ledger, and what may be drawn in all.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    /// Most that all draws together may have as epsilon.
    limit: Option<f64>,
}

/// One draw: every client of a run released its moments once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub time: u64,
    /// The run folder.
    pub run: String,
    /// The smallest hashes of images, as hexadecimal numbers, ascending.
    pub images: Vec<String>,
    /// What was drawn.
    #[serde(flatten)]
    pub draw: Draw,
}

impl Ledger {
    /// The ledger at `path`, which is made by the first draw; `limit` is the most that all draws on the same images may have as epsilon.
    pub fn new(path: impl Into<PathBuf>, limit: Option<f64>) -> Self {
        Ledger { path: path.into(), limit }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the draw of `claim` on the images `data` by the run in the folder `run`, and makes it durable.
    ///
    /// # Errors
    /// [`Error::Usage`] if all draws together would go beyond the limit; otherwise if the ledger cannot be read or written. Nothing may
    /// then be drawn.
    pub fn record(&self, claim: &PrivacyGuarantee, run: &Path, data: &ClientData) -> Result<Total> {
        let _lock = self.lock()?;
        let images = self.hashes(data)?;
        let draw = claim.draw();
        let together = self.total_of(&images, Some(draw), claim.delta)?;
        if let Some(limit) = self.limit.filter(|&limit| together.epsilon > limit) {
            return Err(Error::usage(format!(
                "this draw would bring all {} on these images to epsilon = {:.3} at delta = {:e}, above `total-epsilon` {limit} ({}); \
                 choose a smaller epsilon, or train again on moments that are drawn",
                together.draws,
                together.epsilon,
                claim.delta,
                self.path.display()
            )));
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let entry = Entry { time, run: run.display().to_string(), images, draw };
        let io = |e| Error::io("write", &self.path, e);
        let line = serde_json::to_string(&entry).map_err(|e| io(e.into()))?;
        self.append(&line).map_err(io)?;
        Ok(together)
    }

    /// Adds a line, durably, in place of one that was cut off.
    fn append(&self, line: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = whole_lines(&bytes);
        file.set_len(whole.len() as u64)?;
        let end = if whole.last().is_none_or(|&byte| byte == b'\n') { "" } else { "\n" };
        file.write_all(format!("{end}{line}\n").as_bytes())?;
        file.sync_all()
    }

    /// What all draws on the images `data` promise together, at `claim`'s delta; that of `claim` alone where none is remembered.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn total(&self, claim: &PrivacyGuarantee, data: &ClientData) -> Result<Total> {
        let _lock = self.lock()?;
        let images = self.hashes(data)?;
        let found = self.total_of(&images, None, claim.delta)?;
        Ok(if found.draws > 0 { found } else { total(&[claim.draw()], claim.delta) })
    }

    fn total_of(&self, images: &[String], more: Option<Draw>, delta: f64) -> Result<Total> {
        let same = |entry: &Entry| entry.images.iter().any(|hash| images.binary_search(hash).is_ok());
        let earlier = read(&self.path)?.into_iter().filter(same).map(|entry| entry.draw);
        Ok(total(&earlier.chain(more).collect::<Vec<_>>(), delta))
    }

    /// The smallest hashes of the images, ascending.
    fn hashes(&self, data: &ClientData) -> Result<Vec<String>> {
        let key = self.key()?;
        let hash = |&image: &usize| {
            let digest = Sha256::new().chain_update(key).chain_update(data.dataset.image(image)).finalize();
            digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        let mut hashes: Vec<String> = data.members.iter().map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.truncate(KEPT_HASHES);
        Ok(hashes)
    }

    /// The ledger's own key, made when it is first needed.
    fn key(&self) -> Result<[u8; 32]> {
        let path = self.path.with_extension("key");
        if !path.exists() {
            if !read(&self.path)?.is_empty() {
                // Under another key no image would be known again, and every draw would be the first.
                let why =
                    "its ledger has entries and they cannot be told without it; restore it, or start another ledger";
                return Err(Error::corrupt(format!("the ledger's key {} is missing", path.display()), why));
            }
            let mut key = [0; 32];
            let random = |e: getrandom::Error| std::io::Error::other(e.to_string());
            getrandom::fill(&mut key)
                .map_err(|e| Error::io("draw randomness from", "the operating system", random(e)))?;
            file::write_atomic(&path, |out| out.write_all(&key))?;
        }
        let bytes = file::read_bounded(&path, 64)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_| {
            let why = format!("it has {length} bytes and a key has 32; restore it, or start another ledger");
            Error::corrupt(format!("the ledger's key {}", path.display()), why)
        })
    }

    /// Two runs never write at once.
    fn lock(&self) -> Result<File> {
        let path = self.path.with_extension("lock");
        let io = |e| Error::io("lock", &path, e);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        file.lock().map_err(io)?;
        Ok(file)
    }
}

/// The draws that the ledger at `path` remembers; none where there is no such file.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Corrupt`] if a line is not an entry: a ledger that forgets is none.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = file::read_bounded(path, MAX_BYTES)?;
    let refuse = |why: String| Error::corrupt(format!("privacy ledger {}", path.display()), why);
    let parse = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line)
            .map_err(|e| refuse(format!("line {} is no entry ({e}); repair it, or give another `ledger`", number + 1)))
    };
    let lines = whole_lines(&bytes).split(|&byte| byte == b'\n').enumerate();
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(parse).collect()
}

/// A ledger without a last line that was cut off while it was written: its draw was never made.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    if serde_json::from_slice::<Entry>(&bytes[end..]).is_ok() { bytes } else { &bytes[..end] }
}

#[cfg(test)]
mod tests {
    use super::super::release::Shares;
    use super::*;
    use crate::privacy::accounting::Budget;
    use crate::privacy::release::NoisePlan;
    use crate::settings::privacy::PrivacySettings;
    use prism_core::privacy::Adjacency;
    use prism_data::Dataset;

    fn images(range: std::ops::Range<usize>) -> ClientData {
        let pixels = range.clone().flat_map(|image| (0..64).map(move |pixel| (image >> (pixel % 2 * 8)) as u8));
        ClientData::whole(Dataset::new("images", 8, 1, pixels.collect()).unwrap())
    }

    fn claim(epsilon: f64, adjacency: Adjacency) -> PrivacyGuarantee {
        let settings = PrivacySettings { epsilon: Some(epsilon), adjacency, ..PrivacySettings::default() };
        let budget = Budget::of(&settings).unwrap().unwrap();
        let noise = NoisePlan::new(budget, adjacency, Shares::whole(1)).unwrap();
        PrivacyGuarantee::new(&settings, budget, &noise, None, 200)
    }

    #[test]
    fn a_selection_or_one_image_fewer_is_the_same_data_and_other_images_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), None);
        let (run, claim) = (Path::new("run"), claim(1.0, Adjacency::REPLACE_ONE));
        let draws = |range| ledger.record(&claim, run, &images(range)).unwrap().draws;
        assert_eq!(draws(0..200), 1);
        assert_eq!(draws(0..199), 2);
        assert_eq!(draws(50..150), 3);
        assert_eq!(draws(1000..1200), 1);
        assert_eq!(ledger.total(&claim, &images(0..200)).unwrap().draws, 3);
        let text = std::fs::read_to_string(ledger.path()).unwrap();
        assert!(
            !text.contains(images(0..200).dataset.digest()),
            "a digest of images would tell which one was left out"
        );
    }

    #[test]
    fn a_draw_beyond_the_limit_is_refused_before_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), Some(1.2));
        let (run, claim) = (Path::new("run"), claim(1.0, Adjacency::REPLACE_ONE));
        ledger.record(&claim, run, &images(0..200)).unwrap();
        let error = ledger.record(&claim, run, &images(0..200)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("above `total-epsilon` 1.2"), "{error}");
        assert_eq!(read(ledger.path()).unwrap().len(), 1);
    }

    #[test]
    fn damage_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), None);
        let (run, claim) = (Path::new("run"), claim(1.0, Adjacency::ADD_REMOVE));
        ledger.record(&claim, run, &images(0..9)).unwrap();
        let mut text = std::fs::read_to_string(ledger.path()).unwrap();
        let whole = text.clone();
        text.push_str("{\"time\": 1\n");
        std::fs::write(ledger.path(), text).unwrap();
        let error = ledger.record(&claim, run, &images(0..9)).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        std::fs::write(ledger.path(), whole).unwrap();
        std::fs::remove_file(ledger.path().with_extension("key")).unwrap();
        let error = ledger.record(&claim, run, &images(0..9)).unwrap_err().to_string();
        assert!(error.contains("is missing") && error.contains("restore it"), "{error}");
    }

    #[test]
    fn a_line_that_was_cut_off_before_its_draw_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), None);
        let (run, claim) = (Path::new("rün"), claim(1.0, Adjacency::ADD_REMOVE));
        ledger.record(&claim, run, &images(0..9)).unwrap();
        let whole = std::fs::read(ledger.path()).unwrap();
        for cut in [1, whole.len() / 2, whole.len() - 2] {
            std::fs::write(ledger.path(), [&whole[..], &whole[..cut]].concat()).unwrap();
            assert_eq!(read(ledger.path()).unwrap().len(), 1);
            assert_eq!(ledger.record(&claim, run, &images(0..9)).unwrap().draws, 2);
            assert_eq!(read(ledger.path()).unwrap().len(), 2);
        }
        // What a person's editor left without its last end of line is no less an entry.
        std::fs::write(ledger.path(), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(ledger.record(&claim, run, &images(0..9)).unwrap().draws, 2);
    }

    #[test]
    fn a_thousandth_of_the_images_is_the_same_data() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(folder.path().join("ledger.jsonl"), None);
        let (run, claim) = (Path::new("run"), claim(1.0, Adjacency::REPLACE_ONE));
        ledger.record(&claim, run, &images(0..60_000)).unwrap();
        assert_eq!(ledger.record(&claim, run, &images(20_000..20_060)).unwrap().draws, 2);
    }
}
